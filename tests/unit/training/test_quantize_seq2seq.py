"""An encoder-decoder as INT8 graphs: judged, gated, evaluated by what they write, published."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import tiny_transforms as tiny
import yaml
from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_common import graphs
from distill_trainer.errors import BadInput
from distill_trainer.exporting import running, seq2seq_graphs
from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.quantizing import int8, parity
from distill_trainer.students import seq2seq
from distill_trainer.teachers import local_generator
from generating_jobs import Job
from onnx import numpy_helper

BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
AFTER = (Stage.QUANTIZE, Stage.EXPORT, Stage.EVALUATE, Stage.PUBLISH)
QUERIES = 90
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "export" / "seq2seq-int8.yaml"
LAYERS = (7, 4 + 4 + 3 + 1, 4 + 2 + 3 + 1)
"""Of one layer each: encoder; decoder that reads, with its head; decoder with a cache."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Job:
    root, rows = tmp_path_factory.mktemp("t5"), tiny.expansions(QUERIES)
    tiny.write_data(root / "data.jsonl", rows)
    teacher = tiny.taught_seq2seq(tiny.encoder_decoder(2), rows, tiny.instructed)
    (root / "job").mkdir()
    job = Job(root / "job")
    job.spec = {
        "component": "QueryTransform",
        "teacher": {
            "model": {"uri": f"file://{tiny.save(teacher, root / 'teacher')}"},
            "sampling": {"temperature": 0.3, "maxTokens": 16},
        },
        "student": {"architecture": "Seq2Seq", "fromTeacher": {"keepLayers": [1]}},
        "data": {"source": {"uri": f"file://{root}/data.jsonl"}},
        "recipe": {"queryTransform": {"outputs": {}, "expansions": 2}},
        "training": {
            "maxSteps": 40,
            "batchSize": 16,
            "optimizer": {"learningRate": 5e-3},
        },
        "evaluation": {
            "latencyRequests": 10,
            "throughputBatchSize": 32,
            "bootstrapSamples": 100,
            "gates": [],
        },
        "publish": [{"pvc": {"claimName": "models"}}],
    }
    for stage in BEFORE:
        job.run(stage)
    return job


@pytest.fixture(scope="module")
def reports(trained: Job) -> dict[Stage, Report]:
    asked = yaml.safe_load(EXAMPLE.read_text())["spec"]
    DistillationJobSpec.model_validate(asked)
    trained.spec |= {"quantize": asked["quantize"] | {"maxLoss": 0.5}, "export": asked["export"]}
    return {stage: trained.run(stage) for stage in AFTER}


def test_the_stage_tells_what_eight_bits_cost(trained: Job, reports: dict[Stage, Report]):
    facts = reports[Stage.QUANTIZE].facts
    assert int(facts["layersQuantized"]) == sum(LAYERS)
    assert facts["layersLeft"] == "0"
    assert 0 <= float(facts["divergence"]) < 0.1
    assert float(facts["top1Agreement"]) > 0.9
    assert float(facts["parity"]) < parity.TOLERANCE * 100
    assert float(facts["perplexity"]) == pytest.approx(float(facts["floatPerplexity"]), rel=0.1)
    assert all(len(name) <= 40 and len(value) <= 80 for name, value in facts.items())
    place = trained.output(Stage.QUANTIZE) / graphs.FOLDER
    names = sorted(path.name for path in place.iterdir())
    assert names == sorted(seq2seq_graphs.QUANTIZED)
    assert int(facts["bytesAfter"]) == sum(path.stat().st_size for path in place.iterdir())


def test_the_graphs_that_are_evaluated_write_as_the_published_ones(
    trained: Job, reports: dict[Stage, Report]
):
    evaluation, artifact = reports[Stage.EVALUATE].evaluation, reports[Stage.PUBLISH].artifact
    assert evaluation is not None
    assert artifact is not None
    assert artifact.formats == ["safetensors", "onnx", "onnx-int8"]
    folder = next(path.parent for path in (trained.root / "volumes").rglob("config.json"))
    names = sorted(path.name for path in (folder / "onnx").iterdir())
    assert names == sorted((*seq2seq_graphs.NAMES, *seq2seq_graphs.QUANTIZED))
    card = (folder / "README.md").read_text()
    assert "`onnx/encoder_model_quantized.onnx`" in card
    assert "`onnx/decoder_with_past_model.onnx`" in card
    assert "<h2>Quantization</h2>" in (folder / "report.html").read_text()
    assert int(reports[Stage.EXPORT].facts["onnxTokensAlike"]) > 10
    student = seq2seq.load(folder)
    small = Seq2SeqGraphs(folder / "onnx", seq2seq_graphs.QUANTIZED, student.start, threads=1)
    prefix = json.loads((folder / "teaching.json").read_text())["prefix"]
    sources = [seq2seq.source_ids(student.tokenizer, prefix + text) for text in ("a1 d2", "a3 d4")]
    padded = seq2seq.padded(sources, student.tokenizer.pad_token_id, student.model.device)
    ids, mask = (one.numpy() for one in padded)
    rows = running.greedy(small, ids, mask, ends=student.ends, most=16).tolist()
    texts = [student.tokenizer.decode(local_generator.until_end(row, student.ends)) for row in rows]
    assert all("|||" in text for text in texts)


def test_a_graph_that_writes_garbage_fails_the_stage_with_numbers(
    trained: Job, reports: dict[Stage, Report], monkeypatch: pytest.MonkeyPatch
):
    quantize = int8.quantize

    def damaged(source: Path, target: Path, **more: Any) -> int8.Layers:
        found = quantize(source, target, **more)
        model = onnx.load(target)
        for entry in model.graph.initializer:
            values = numpy_helper.to_array(entry)
            if values.dtype == "int8" and values.ndim == 2:
                entry.CopyFrom(numpy_helper.from_array(-values, entry.name))
        onnx.save(model, target)
        return found

    monkeypatch.setattr(int8, "quantize", damaged)
    whole = trained.spec
    monkeypatch.setattr(trained, "spec", whole | {"quantize": {"method": "INT8"}})
    with pytest.raises(BadInput, match=r"loses .*% .*at most 2\.00% is allowed") as caught:
        trained.run(Stage.QUANTIZE)
    assert caught.value.reason is Reason.QUALITY_GATE_FAILED
    assert "divergence" in str(caught.value)
