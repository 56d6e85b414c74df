"""The quantize stage of what writes: written, loaded again, compared, gated, judged, published."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_causal
import tiny_transforms
import torch
from distill_api.names import Reason, Stage
from distill_api.training import QuantizationMethod, Quantize
from distill_api.wire import Report
from distill_common import graphs
from distill_trainer.errors import BadInput
from distill_trainer.quantizing import compared, compressing, note, schemes
from distill_trainer.quantizing.compared import Layers, Likeness
from distill_trainer.quantizing.writing_note import MEASURE, WritingNote
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.training.sequences import Taught
from safetensors.torch import load_file, save_file
from stage_jobs import Job, generating_job

BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
LAYERS = 2 * 7
"""Of the tiny student: four of attention and three behind it, in each of two layers."""
SMALL = {"groupSize": 16, "calibrationRecords": 24, "maxLoss": 1.0}
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "INT4": ({"method": "INT4"}, "W4A16"),
    "GPTQ": ({"method": "GPTQ"}, "W4A16"),
    "GPTQ of 8 bits": ({"method": "GPTQ", "bits": 8}, "W8A16"),
    "AWQ": ({"method": "AWQ"}, "W4A16"),
    "INT8": ({"method": "INT8"}, "W8A8"),
}
NOTE = WritingNote(
    method="GPTQ",
    measure=MEASURE,
    before=0.5,
    after=0.49,
    bytes_before=400,
    bytes_after=100,
    teacher_bytes=800,
    layers=LAYERS,
    left=(),
    scheme="W4A16",
    group_size=128,
    divergence=0.01,
    agreement=0.99,
    tokens=1000,
    calibrated_by=512,
    on_purpose=("model.embed_tokens", "lm_head"),
    made_with="llmcompressor 0",
    verified_with="transformers 0, compressed-tensors 0",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Teach a student for some steps, so that its answers mean something."""
    job = generating_job(tmp_path_factory.mktemp("writing"))
    job.spec["training"] |= {"maxSteps": 60, "optimizer": {"learningRate": 3e-3}}
    job.spec["evaluation"] |= {"onMissedGate": "Publish", "throughputBatchSize": 8}
    (job.root / "volumes" / "models").mkdir(parents=True)
    for stage in BEFORE:
        job.run(stage)
    return job


@pytest.fixture(scope="module")
def reports(trained: Job) -> dict[str, Report]:
    """Quantise the student by every method."""
    return {name: _quantised(trained, **spec) for name, (spec, _) in METHODS.items()}


def _quantised(job: Job, **spec: Any) -> Report:
    job.spec["quantize"] = SMALL | spec
    report, _ = job.run(Stage.QUANTIZE)
    return report


@pytest.mark.parametrize("name", METHODS)
def test_every_layer_is_quantised_and_the_numbers_are_told(reports: dict[str, Report], name: str):
    facts = reports[name].facts
    assert facts["scheme"] == METHODS[name][1]
    assert facts["layersQuantized"] == str(LAYERS)
    assert facts["layersLeft"] == "0"
    assert facts["leftOnPurpose"] == "lm_head, model.embed_tokens"
    assert int(facts["bytesAfter"]) < int(facts["bytesBefore"])
    assert float(facts["compressionOfTeacher"]) > float(facts["compression"]) > 1
    # Of two dozen tokens, by a student of a few thousand weights.
    assert float(facts["top1Agreement"]) > (0.9 if "8" in facts["scheme"][:3] else 0.4)
    assert 0 < float(facts["divergence"]) < 0.5
    assert int(facts["calibrationRecords"]) == (0 if name == "INT4" else 24)
    assert "compressed-tensors 0." in facts["verifiedWith"]
    assert all(len(key) <= 40 and len(value) <= 80 for key, value in facts.items())


def test_eight_bits_lose_less_than_four(reports: dict[str, Report]):
    lost = {name: float(report.facts["divergence"]) for name, report in reports.items()}
    assert lost["GPTQ of 8 bits"] < min(lost["GPTQ"], lost["INT4"]) / 10
    assert lost["INT8"] < min(lost["GPTQ"], lost["INT4"])


def test_what_is_evaluated_and_published_is_the_quantised_student(trained: Job):
    _quantised(trained, method="GPTQ")
    evaluation, _ = trained.run(Stage.EVALUATE)
    published, _ = trained.run(Stage.PUBLISH)
    assert evaluation.evaluation is not None
    float_weights = causal.load(trained.output(Stage.TRAIN) / "student")
    assert evaluation.evaluation.student_parameters == causal.parameters(float_weights)
    assert published.artifact is not None
    assert published.artifact.formats == ["compressed-tensors"]
    folder = trained.root / "volumes" / "models" / "models"
    written = trained.output(Stage.QUANTIZE) / "student" / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == written.read_bytes()
    assert json.loads((folder / "teaching.json").read_text())["weights"] == "W4A16"
    assert json.loads((folder / graphs.NOTE).read_text())["groupSize"] == 16
    assert "## Quantised" in (folder / "README.md").read_text()
    assert "<h2>Quantization</h2>" in (folder / "report.html").read_text()
    scheme = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert scheme["format"] == "pack-quantized"
    assert scheme["config_groups"]["group_0"]["weights"]["group_size"] == 16


def test_a_query_transform_is_quantised_with_its_own_conversations(tmp_path: Path):
    lesson = (tiny_transforms.expansions(90), tiny_transforms.EXPAND)
    teacher = tiny_transforms.taught_causal(tiny_transforms.decoder(2), lesson)
    folder = tiny_transforms.save(teacher, tmp_path / "teacher")
    job = Job(tmp_path / "job", folder, component="QueryTransform")
    tiny_transforms.write_data(job.root / "data.jsonl", lesson[0])
    job.spec["teacher"]["sampling"] = {"temperature": 0, "maxTokens": 16}
    job.spec["recipe"] = {"queryTransform": {"outputs": {}, "expansions": 2}}
    job.spec["student"] = {"fromTeacher": {"keepLayers": [0]}}
    job.spec["evaluation"] |= {"throughputBatchSize": 8, "gates": []}
    for stage in BEFORE:
        job.run(stage)
    report = _quantised(job, method="GPTQ")
    assert report.facts["layersQuantized"] == str(7)
    evaluated, _ = job.run(Stage.EVALUATE)
    assert evaluated.evaluation is not None
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert "<h2>Quantization</h2>" in page


def test_files_that_write_garbage_fail_the_stage_with_numbers(
    trained: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compressing, "compress", _and_then(_turn_signs))
    with pytest.raises(BadInput, match=r"loses .*% .*at most 5\.00% is allowed") as caught:
        _quantised(trained, method="GPTQ", maxLoss=None, calibrationRecords=5)
    assert caught.value.reason is Reason.QUALITY_GATE_FAILED
    assert "perplexity" in caught.value.sentence


def test_files_without_a_weight_fail_the_stage_by_its_name(
    trained: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compressing, "compress", _and_then(_lose_a_norm))
    with pytest.raises(BadInput, match=r"missing: model\.norm\.weight"):
        _quantised(trained, method="INT4", calibrationRecords=5)


def test_layers_that_stayed_float_are_found_in_the_files(trained: Job, tmp_path: Path):
    _quantised(trained, method="INT4")
    folder = tmp_path / "student"
    shutil.copytree(trained.output(Stage.QUANTIZE) / "student", folder)
    model = compared.load(folder).model
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    kept = {key: value for key, value in weights.items() if not key.startswith(name)}
    save_file(kept | {f"{name}.weight": torch.zeros(64, 32)}, folder / "model.safetensors")
    found = compared.layers(folder, model)
    assert found == Layers(LAYERS - 1, (name,), ("lm_head", "model.embed_tokens"))
    assert name in replace(NOTE, left=found.left).sentence()


def test_activations_of_eight_bits_are_rounded_where_the_files_are_loaded(trained: Job):
    _quantised(trained, method="INT8")
    model = compared.load(trained.output(Stage.QUANTIZE) / "student").model
    layer = model.model.layers[0].mlp.up_proj
    states = torch.linspace(-1, 1, 32).reshape(1, 32)
    step = 1 / 127.5
    rounded = layer(states)
    exact = torch.nn.functional.linear(states, layer.weight)
    assert 0 < (rounded - exact).abs().max() <= step * layer.weight.abs().sum(1).max()


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (128, "groupSize 128 does not divide the inputs of 28 of 28 layers, first .* use 32,"),
        (64, r"does not divide the inputs of 24 of 28 .*q_proj \(32\).* use 32,"),
        (32, None),
        (-1, None),
    ],
)
def test_groups_that_do_not_divide_a_layer_are_refused_before_anything_runs(
    size: int, says: str | None
):
    model = tiny_causal.model().model
    scheme = schemes.of(Quantize(method=QuantizationMethod.INT4, group_size=size))
    if says is None:
        schemes.check(model, scheme)
        return
    with pytest.raises(BadInput, match=says):
        schemes.check(model, scheme)


def test_the_records_that_calibrate_are_drawn_from_the_job_s_own():
    taught = [_taught(number) for number in range(30)]
    wanted = Quantize(method=QuantizationMethod.GPTQ, calibration_records=8)
    drawn = compressing.chosen(taught, wanted, seed=1)
    assert len(drawn) == 8
    assert all(any(one is other for other in taught) for one in drawn)
    again, other = (compressing.chosen(taught, wanted, seed=seed) for seed in (1, 2))
    assert [id(one) for one in again] == [id(one) for one in drawn]
    assert [id(one) for one in other] != [id(one) for one in drawn]
    (first, *_) = compressing._loader(drawn)
    assert first["input_ids"][0].tolist() == [*drawn[0].prompt, *drawn[0].target]


def test_a_student_is_not_off_from_itself():
    student = tiny_causal.model()
    found = compared.compare(student, student, [_taught(number) for number in range(5)])
    assert found.divergence == pytest.approx(0, abs=1e-12)
    assert found.agreement == 1
    assert found.before == found.after < 0
    assert found.tokens == 10


@pytest.mark.parametrize(
    ("method", "loss", "held"),
    [("GPTQ", 0.049, True), ("GPTQ", 0.051, False), ("INT4", 0.09, True), ("INT8", 0.03, False)],
)
def test_the_gate_is_the_guide_s_for_each_method(method: str, loss: float, *, held: bool):
    told = replace(NOTE, method=method, after=0.5 * (1 - loss))
    wanted = Quantize(method=QuantizationMethod(method))
    if held:
        note.check(told, wanted)
        return
    with pytest.raises(BadInput, match=r"1/perplexity 0\.5000 of the float student"):
        note.check(told, wanted)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(BadInput, match="not finite"):
        compared.refuse_garbage(Likeness(-1.0, float("nan"), 0.1, 0.5, 10))


def _taught(number: int) -> Taught:
    return Taught(np.arange(8, 13 + number % 3), np.array([20 + number % 7, 2]))


def _and_then(damage: Callable[[Path], None]) -> Callable[..., None]:
    compress = compressing.compress

    def damaged(student: Causal, wanted: Quantize, records: Sequence[Taught], to: Path) -> None:
        compress(student, wanted, records, to)
        damage(to / "model.safetensors")

    return damaged


def _turn_signs(path: Path) -> None:
    """Turn the signs of half of the scales, as a wrong layout would."""
    weights = load_file(path)
    for name, value in weights.items():
        if name.endswith("weight_scale"):
            value[::2] *= -1
    save_file(weights, path, metadata={"format": "pt"})


def _lose_a_norm(path: Path) -> None:
    weights = load_file(path)
    del weights["model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
