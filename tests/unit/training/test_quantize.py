"""The quantize stage: an INT8 graph that is judged, gated, evaluated, published and served."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
from distill_api.names import Reason, Stage
from distill_api.training import QuantizationMethod, Quantize
from distill_common import graphs
from distill_server.errors import BadModel
from distill_server.models import served
from distill_trainer.errors import BadInput
from distill_trainer.quantizing import int8, note, parity
from distill_trainer.quantizing.note import Note
from distill_trainer.quantizing.running import InOnnx
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher
from onnx import TensorProto, helper, numpy_helper
from servers import settings
from stage_jobs import Job, ranking_job

from examples.rollout import damage

ANY_LOSS = {"method": "INT8", "maxLoss": 1.0}
BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)

NOTE = Note(
    method="INT8",
    measure="nDCG@10",
    before=0.8,
    after=0.79,
    agreement=0.99,
    ranks=0.98,
    largest_difference=0.01,
    parity=1e-6,
    bytes_before=400,
    bytes_after=100,
    teacher_bytes=800,
    items_per_second=(10.0, 25.0),
    per_channel=True,
    layers=12,
    left=(),
)


@pytest.fixture(scope="module")
def finished(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("quantized"), teacher_folder, quantize=ANY_LOSS)
    (job.root / "volumes" / "models").mkdir(parents=True)
    job.spec["evaluation"] |= {"onMissedGate": "Publish"}
    for stage in (*BEFORE, Stage.QUANTIZE, Stage.EVALUATE, Stage.PUBLISH):
        job.run(stage)
    return job


def test_the_stage_tells_bytes_loss_speed_and_layers(finished: Job):
    report, _ = finished.run(Stage.QUANTIZE)
    assert report.reused
    facts = report.facts
    graph = finished.output(Stage.QUANTIZE) / graphs.FOLDER / graphs.QUANTIZED
    assert int(facts["bytesAfter"]) == graph.stat().st_size
    # So small a student is mostly its graph: only the numbers' relation can be looked at.
    ratio = int(facts["bytesBefore"]) / int(facts["bytesAfter"])
    assert float(facts["compression"]) == pytest.approx(ratio, abs=0.01)
    assert float(facts["compressionOfTeacher"]) > float(facts["compression"])
    assert int(facts["layersQuantized"]) == 2 * 6 + 1
    assert facts["layersLeft"] == "0"
    assert float(facts["agreement"]) > 0.9
    assert float(facts["rankCorrelation"]) > 0.9
    assert float(facts["parity"]) < parity.TOLERANCE
    assert all(len(name) <= 40 and len(value) <= 80 for name, value in facts.items())
    names = sorted(path.name for path in finished.output(Stage.QUANTIZE).rglob("*.onnx"))
    assert names == [graphs.QUANTIZED]


def test_the_graph_has_free_axes_a_stated_opset_and_no_stale_shapes(finished: Job):
    graph = onnx.load(finished.output(Stage.QUANTIZE) / graphs.FOLDER / graphs.QUANTIZED)
    assert {entry.version for entry in graph.opset_import if not entry.domain} == {graphs.OPSET}
    axes = [one.dim_param for one in graph.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", "length"]
    assert [output.name for output in graph.graph.output] == [graphs.EMBEDDING]
    weights = {entry.name for entry in graph.graph.initializer}
    assert not weights & {entry.name for entry in graph.graph.value_info}


def test_what_is_evaluated_and_published_is_the_quantised_student(finished: Job):
    trained = make.load(finished.output(Stage.TRAIN) / "student").eval()
    graph = finished.output(Stage.QUANTIZE) / graphs.FOLDER / graphs.QUANTIZED
    texts = ["a1 b2 c3", "d4 e5"]
    whole, small = (
        LocalTeacher(model, 2).embed(texts, prompt="").vectors
        for model in (trained, InOnnx(graph, trained, threads=1))
    )
    assert 0 < np.abs(whole - small).max() < 0.2
    report, _ = finished.run(Stage.PUBLISH)
    assert report.artifact is not None
    assert report.artifact.formats == ["safetensors", "onnx-int8"]
    folder = finished.root / "volumes" / "models" / "models"
    assert (folder / "onnx" / graphs.QUANTIZED).read_bytes() == graph.read_bytes()
    assert "## Quantised" in (folder / "README.md").read_text()
    assert "quantize" in json.loads((folder / "lineage.json").read_text())["spec"]
    assert "<h2>Quantization</h2>" in (folder / "report.html").read_text()
    model = served.open_model(settings(folder))
    served_rows = model.compute(model.tokenizer.encode(texts, None))
    assert np.abs(served_rows - small).max() < 1e-5


def test_a_broken_quantised_graph_is_not_served(finished: Job, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(finished.root / "volumes" / "models" / "models", folder)
    _damage(folder / "onnx" / graphs.QUANTIZED)
    with pytest.raises(BadModel, match=r"model_quantized\.onnx gives other results"):
        served.open_model(settings(folder))


def test_the_demos_spoilt_student_is_served_and_answers_otherwise(finished: Job, tmp_path: Path):
    published = finished.root / "volumes" / "models" / "models"
    spoilt = damage.spoil(published, tmp_path / "spoilt")
    good, bad = (served.open_model(settings(folder)) for folder in (published, spoilt))
    texts = ["a1 b2 c3", "d4 e5"]
    one, other = (model.compute(model.tokenizer.encode(texts, None)) for model in (good, bad))
    assert one.shape == other.shape
    assert (one * other).sum(axis=1).max() < 0.9


@pytest.mark.parametrize("architecture", ["BiEncoder", "CrossEncoder"])
def test_a_reranker_is_quantised_and_its_graph_is_judged(tmp_path: Path, architecture: str):
    job = ranking_job(tmp_path)
    job.spec["quantize"] = ANY_LOSS
    job.spec["training"] |= {"maxSteps": 2}
    job.spec["student"]["architecture"] = architecture
    reports = {stage: job.run(stage)[0] for stage in (*BEFORE, Stage.QUANTIZE, Stage.EVALUATE)}
    facts = reports[Stage.QUANTIZE].facts
    assert int(facts["layersQuantized"]) >= 6
    assert float(facts["agreement"]) > 0.8
    assert reports[Stage.EVALUATE].evaluation is not None


def test_a_graph_that_gives_garbage_fails_the_stage_with_numbers(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quantize = int8.quantize

    def damaged(source: Path, target: Path, **more: Any) -> int8.Layers:
        found = quantize(source, target, **more)
        _damage(target)
        return found

    monkeypatch.setattr(int8, "quantize", damaged)
    job = Job(tmp_path, teacher_folder, quantize={"method": "INT8"})
    for stage in BEFORE:
        job.run(stage)
    with pytest.raises(BadInput, match=r"loses .*% .*at most 2\.00% is allowed") as caught:
        job.run(Stage.QUANTIZE)
    assert caught.value.reason is Reason.QUALITY_GATE_FAILED
    assert not (job.root / "workspace" / "quantize.json").exists()


def test_a_student_that_finds_nothing_has_nothing_to_lose():
    told = replace(NOTE, before=0.0, after=0.0)
    note.check(told, Quantize(method=QuantizationMethod.INT8))
    assert told.loss == 0


@pytest.mark.parametrize(
    ("loss", "most", "held"),
    [(0.019, None, True), (0.021, None, False), (0.021, 0.03, True), (-0.1, 0.0, True)],
)
def test_the_gate_is_the_guide_s_unless_the_spec_has_its_own(
    loss: float, most: float | None, *, held: bool
):
    told = replace(NOTE, after=0.8 * (1 - loss))
    wanted = Quantize(method=QuantizationMethod.INT8, max_loss=most)
    if held:
        note.check(told, wanted)
        return
    with pytest.raises(BadInput, match=r"loses 2\.10%"):
        note.check(told, wanted)


def test_a_student_of_which_nothing_was_quantised_is_refused_by_name():
    told = replace(NOTE, layers=0, left=("encoder/dense",))
    with pytest.raises(BadInput, match="encoder/dense"):
        note.check(told, Quantize(method=QuantizationMethod.INT8))


def test_layers_that_stayed_float_are_found_and_products_of_activations_are_none():
    weight = numpy_helper.from_array(np.ones((4, 4), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("MatMul", ["x", "wt"], ["y"], name="left/behind"),
        helper.make_node("MatMul", ["y", "y"], ["z"], name="attention"),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xz"]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [weight])
    found = int8.layers(helper.make_model(graph))
    assert found == int8.Layers(0, ("left/behind",))
    assert "left/behind" in replace(NOTE, left=found.left).sentence()


def test_a_graph_that_differs_from_its_weights_is_refused():
    model = tiny_models.teacher()

    def compute(items: Any) -> Any:
        return LocalTeacher(model, len(items)).embed(items, prompt="").vectors

    assert parity.check(compute, compute, ["a1", "b2 c3"]) == 0
    with pytest.raises(BadInput, match="other numbers than its weights for 7 texts"):
        parity.check(lambda i: compute(i) * (1 + (len(i) > 2)), compute, ["a1", "b2 c3"])


def _damage(path: Path) -> None:
    """Turn the signs of half of every quantised weight, as a wrong layout would."""
    model = onnx.load(path)
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.dtype == np.int8 and values.ndim == 2:
            turned = values.copy()
            turned[::2] *= -1
            entry.CopyFrom(numpy_helper.from_array(turned, entry.name))
    onnx.save(model, path)
