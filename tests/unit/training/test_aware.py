"""Training with rounded weights: what was seen while training is what the files hold."""

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny_causal
import torch
from distill_api.names import Stage
from distill_api.training import Quantize
from distill_trainer.quantizing import compared, compressing, fake, schemes
from distill_trainer.students import causal
from safetensors.torch import load_file
from stage_jobs import generating_job
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.qat import QATConfig
from torchao.quantization.qat.linear import FakeQuantizedLinear

BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
SCHEMES: list[dict[str, Any]] = [
    {"method": "INT4", "groupSize": 16},
    {"method": "INT4", "groupSize": -1},
    {"method": "INT8"},
]
BOUND = 0.06
"""Of the largest logit: scales, embeddings and head lose 16 of their 24 bits when written, which
moves some activations of a random network by a step."""


def asked(**spec: Any) -> Quantize:
    return Quantize.model_validate(spec | {"awareTraining": True})


@pytest.mark.parametrize("spec", SCHEMES, ids=str)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32], ids=str)
def test_what_is_prepared_computes_what_is_converted_bit_by_bit(
    spec: dict[str, Any], kind: torch.dtype
):
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(64, 48, bias=False)).to(kind)
    states = torch.randn(7, 64, dtype=kind)
    config = fake.base(schemes.of(asked(**spec)))
    prepared, converted = copy.deepcopy(layer), copy.deepcopy(layer)
    quantize_(prepared, QATConfig(config, step="prepare"))
    quantize_(converted, QATConfig(config, step="prepare"))
    quantize_(converted, QATConfig(config, step="convert"))
    with torch.no_grad():
        assert not torch.equal(prepared(states), layer(states))
        assert torch.equal(prepared(states), converted(states))


@pytest.mark.parametrize("spec", SCHEMES, ids=str)
def test_the_files_hold_the_weights_that_training_saw(spec: dict[str, Any], tmp_path: Path):
    wanted = asked(**spec)
    student = tiny_causal.model()
    ids = torch.arange(8, 40).reshape(2, 16)
    fake.prepare(student.model, schemes.of(wanted))
    with torch.no_grad():
        seen = student.model(input_ids=ids).logits
        rounded = _rounded(student.model)
    assert fake.layers(student.model) == len(rounded) == 4 * 7
    fake.finish(student.model)
    assert fake.layers(student.model) == 0
    causal.save(student, tmp_path / "float")
    compressing.compress(causal.load(tmp_path / "float"), wanted, [], tmp_path / "small")
    written = compared.load(tmp_path / "small")
    for name, weights in rounded.items():
        found = written.model.get_submodule(name).weight
        assert torch.allclose(found, weights, rtol=2**-8, atol=0), name
    with torch.no_grad():
        logits = written.model(input_ids=ids).logits
        _put_back(written.model, student.model, rounded)
        exact = written.model(input_ids=ids).logits
    assert 0 < (logits - seen).abs().max() <= BOUND * seen.abs().max()
    assert torch.equal(exact, seen)


def test_only_rounding_that_is_never_switched_off_counts():
    student = tiny_causal.model(layers=1)
    fake.prepare(student.model, schemes.of(asked(method="INT4", groupSize=32)))
    assert fake.layers(student.model) == 7
    student.model.model.layers[0].mlp.up_proj.weight_fake_quantizer.enabled = False
    with pytest.raises(RuntimeError, match=r"mlp\.up_proj was switched off"):
        fake.layers(student.model)


def test_a_student_that_was_trained_to_be_rounded_loses_less(tmp_path: Path):
    job = generating_job(tmp_path)
    job.spec["training"] |= {"maxSteps": 60, "optimizer": {"learningRate": 3e-3}}
    coarse = {"method": "INT4", "groupSize": -1, "maxLoss": 1.0}
    perplexity = {}
    for aware in (False, True):
        job.spec["quantize"] = coarse | {"awareTraining": aware}
        reports = {stage: job.run(stage)[0] for stage in (*BEFORE, Stage.QUANTIZE)}
        perplexity[aware] = float(reports[Stage.QUANTIZE].facts["perplexity"])
    assert reports[Stage.TRAIN].facts["awareTraining"] == "W4A16"
    assert reports[Stage.TRAIN].facts["awareLayers"] == "14"
    assert perplexity[True] < perplexity[False]
    weights = load_file(job.output(Stage.TRAIN) / "student" / "model.safetensors")
    assert all(value.dtype is torch.float32 for value in weights.values())


def _put_back(model: nn.Module, whole: nn.Module, rounded: dict[str, torch.Tensor]) -> None:
    """Give a written model the bits back that bfloat16 has no room for."""
    for name, weights in rounded.items():
        model.get_submodule(name).weight.copy_(weights)
    for name, weights in whole.named_parameters():
        if name.removesuffix(".weight") not in rounded:
            model.get_parameter(name).copy_(weights)


def _rounded(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return each layer's weight as its passes see it."""
    return {
        name: layer.weight_fake_quantizer(layer.weight)
        for name, layer in model.named_modules()
        if isinstance(layer, FakeQuantizedLinear)
    }
