"""Encoders trained with rounding: what was seen while training is what the INT8 graph computes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
import torch
from distill_api.names import Reason, Stage
from distill_common import exporting, graphs
from distill_trainer.components.quantized import Numbers
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.quantizing import fake_graph, int8
from distill_trainer.quantizing.fake_graph import RoundedEmbedding, RoundedLinear
from distill_trainer.quantizing.running import InOnnx
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from stage_jobs import Job, ranking_job
from torch import nn
from torch.nn import functional

AWARE = {"method": "INT8", "maxLoss": 1.0, "awareTraining": True}
BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
TEXTS = ["a1 b2 c3", "d4 e5 f6 g7 a1 b3", "h1", "c5 c6 b7 d8"]
POOLER = 1
"""A layer of BERT's body that has no part in an embedding; the graph leaves it out."""
CLOSER = 20
"""How much nearer to the graph a student that rounds is than a float one: what is left are sums in
another order, and now and then a number half-way between two steps."""


def _student() -> SentenceTransformer:
    """Make a student with a linear layer behind its pooling."""
    torch.manual_seed(3)
    body = tiny_models.teacher()
    dense = Dense(32, 24, bias=True, activation_function=nn.Tanh())
    return SentenceTransformer(modules=[*list(body)[:2], dense], device="cpu").eval()


def _graph(model: SentenceTransformer, folder: Path) -> Path:
    features = model.preprocess(TEXTS[:2])
    sample = {n: v.numpy() for n, v in features.items() if hasattr(v, "numpy")}
    exporting.export(model, sample, folder / "whole.onnx")
    int8.quantize(folder / "whole.onnx", folder / "small.onnx", per_channel=True)
    return folder / "small.onnx"


def _embed(model: Any) -> Numbers:
    return LocalTeacher(model, len(TEXTS)).embed(TEXTS, prompt="").vectors


def _constants(graph: Path) -> dict[str, np.ndarray]:
    entries = onnx.load(graph).graph.initializer
    return {entry.name: numpy_helper.to_array(entry) for entry in entries}


def test_the_integers_of_weights_are_those_that_the_quantiser_writes(tmp_path: Path):
    model = _student()
    constants = _constants(_graph(model, tmp_path))
    written = {
        (value.shape, value.tobytes(), constants[name.replace("_quantized", "_scale")].tobytes())
        for name, value in constants.items()
        if name.endswith("_quantized") and value.dtype == np.int8
    }
    assert len(written) == 4 * 6 + 1
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    found = {_integers(layer.weight.detach()) for layer in layers}
    assert written < found, "the body's pooler has no part in the embedding, and is left out"
    assert len(found) == len(written) + 1


def _integers(weight: torch.Tensor) -> tuple[tuple[int, ...], bytes, bytes]:
    """Return a layer's shape, integers and scales as a graph holds them."""
    scale = fake_graph.weight_scale(weight)
    whole = (fake_graph.rounded_weight(weight) / scale).round().to(torch.int8).T
    return tuple(whole.shape), whole.numpy().tobytes(), scale.numpy().tobytes()


def test_the_tables_are_rounded_as_the_quantiser_rounds_them(tmp_path: Path):
    model = _student()
    constants = _constants(_graph(model, tmp_path))
    tables = {n: m for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    assert len(tables) == 3
    fake_graph.prepare(model)
    for name, table in tables.items():
        (key,) = (one for one in constants if name in one and one.endswith("_quantized"))
        zero, scale = (
            constants[key.replace("_quantized", f"_{p}")] for p in ("zero_point", "scale")
        )
        expected = (constants[key].astype(np.float32) - zero.astype(np.float32)) * scale
        with torch.no_grad():
            seen = table(torch.arange(table.num_embeddings)).numpy()
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    "states",
    [
        torch.randn(5, 7, generator=torch.Generator().manual_seed(1)) * 3 + 1,
        torch.rand(5, 7, generator=torch.Generator().manual_seed(2)) + 2,
        -torch.rand(5, 7, generator=torch.Generator().manual_seed(3)),
        torch.zeros(2, 3),
    ],
    ids=["around 0", "above 0", "below 0", "all 0"],
)
def test_activations_are_rounded_as_the_runtime_rounds_them(states: torch.Tensor):
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    back = onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    value = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(states.shape))
        for name in "xy"
    ]
    graph = onnx.helper.make_graph([node, back], "g", value[:1], value[1:])
    opset = onnx.helper.make_opsetid("", graphs.OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": states.numpy()})
    np.testing.assert_array_equal(fake_graph.rounded_states(states).numpy(), expected)


def test_a_student_that_rounds_computes_what_its_graph_does(tmp_path: Path):
    model = _student()
    graph = _embed(InOnnx(_graph(model, tmp_path), model, threads=1))
    whole = np.abs(_embed(model) - graph).max()
    fake_graph.prepare(model)
    rounded = np.abs(_embed(model) - graph).max()
    assert whole > 1e-3
    assert rounded < whole / CLOSER
    assert fake_graph.layers(model) == 4 * 6 + POOLER + 1
    fake_graph.finish(model)
    assert not any(isinstance(m, RoundedLinear | RoundedEmbedding) for m in model.modules())
    assert np.abs(_embed(model) - graph).max() == whole


def test_gradients_pass_the_rounding_as_if_it_were_none():
    torch.manual_seed(0)
    layer, states = nn.Linear(6, 4), torch.randn(3, 6, requires_grad=True)
    fake_graph.prepare(holder := nn.Sequential(layer))
    holder(states).square().sum().backward()
    weight = fake_graph.rounded_weight(layer.weight.detach()).requires_grad_()
    inputs = fake_graph.rounded_states(states.detach()).requires_grad_()
    functional.linear(inputs, weight, layer.bias.detach()).square().sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, weight.grad)
    torch.testing.assert_close(states.grad, inputs.grad)
    assert weight.grad.abs().min() > 0


def test_only_rounding_that_was_never_lost_counts():
    model = _student()
    fake_graph.prepare(model)
    assert fake_graph.layers(model) == 4 * 6 + POOLER + 1
    model[2].linear.__class__ = nn.Linear
    with pytest.raises(RuntimeError, match="lost its rounding"):
        fake_graph.layers(model)


def test_weights_that_are_multiplied_otherwise_are_refused_by_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(4, 4, 3))
    with pytest.raises(BadInput, match=r"other weights in 1 modules, first 2 \(Conv1d\)") as caught:
        fake_graph.prepare(model)
    assert caught.value.reason is Reason.BAD_RECIPE
    assert type(model[0]) is nn.Linear


def test_an_evicted_training_goes_on_and_the_graph_is_what_was_trained(
    teacher_folder: Path, tmp_path: Path
):
    jobs = [Job(tmp_path / name, teacher_folder, quantize=AWARE) for name in ("whole", "evicted")]
    for job in jobs:
        job.run(Stage.LABEL)
        job.run(Stage.PREPARE)
    with pytest.raises(TryAgain):
        jobs[1].run(Stage.TRAIN, at=4)
    trained = [job.run(Stage.TRAIN)[0] for job in jobs]
    whole, resumed = (job.weights() for job in jobs)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    facts = jobs[0].run(Stage.QUANTIZE)[0].facts
    for report in trained:
        assert report.facts["awareTraining"] == "W8A8"
        assert int(report.facts["awareLayers"]) == int(facts["layersQuantized"]) + POOLER
    _graph_is_what_was_trained(jobs[0])


def _graph_is_what_was_trained(job: Job) -> None:
    student = make.load(job.output(Stage.TRAIN) / "student").eval()
    place = job.output(Stage.QUANTIZE) / graphs.FOLDER / graphs.QUANTIZED
    graph, whole = _embed(InOnnx(place, student, threads=1)), _embed(student)
    fake_graph.prepare(student)
    assert np.abs(_embed(student) - graph).max() < np.abs(whole - graph).max() / CLOSER


def test_training_with_rounding_is_another_training(teacher_folder: Path, tmp_path: Path):
    job = Job(tmp_path, teacher_folder)
    weights = []
    for quantize in ({"method": "INT8"}, AWARE):
        job.spec["quantize"] = quantize
        assert not [job.run(stage)[0] for stage in BEFORE][-1].reused
        weights.append(job.weights())
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("architecture", ["BiEncoder", "CrossEncoder"])
def test_a_reranker_is_trained_with_rounding(tmp_path: Path, architecture: str):
    job = ranking_job(tmp_path)
    job.spec["quantize"] = AWARE
    job.spec["training"] |= {"maxSteps": 2}
    job.spec["student"]["architecture"] = architecture
    reports = {stage: job.run(stage)[0] for stage in (*BEFORE, Stage.QUANTIZE, Stage.EVALUATE)}
    facts = reports[Stage.TRAIN].facts
    assert facts["awareTraining"] == "W8A8"
    quantized = int(reports[Stage.QUANTIZE].facts["layersQuantized"])
    assert int(facts["awareLayers"]) == quantized + (POOLER if architecture == "BiEncoder" else 0)
    assert reports[Stage.EVALUATE].evaluation is not None
