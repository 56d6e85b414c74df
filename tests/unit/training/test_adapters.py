"""Adapters on a real small encoder: what they change, what they cost, how they are merged."""

import copy
from pathlib import Path

import pytest
import tiny_causal
import tiny_models
import torch
from distill_api.training import Lora
from distill_trainer.errors import BadInput
from distill_trainer.students import adapters
from distill_trainer.students.adapters import Base
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

LORA = Lora(rank=4, alpha=8, dropout=0.0)


@pytest.fixture
def body() -> PreTrainedModel:
    made: PreTrainedModel = tiny_models.teacher(hidden=64, layers=2, dropout=0.0)[0].auto_model
    return made.eval()


def says(model: nn.Module) -> Tensor:
    ids = torch.arange(5, 21).reshape(2, 8)
    with torch.no_grad():
        states: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    return states


def taught(body: nn.Module) -> None:
    """Give the adapters something to say."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def test_new_adapters_change_nothing_and_are_all_that_learns(body: PreTrainedModel) -> None:
    before = says(body)
    adapters.attach(body, LORA, seed=3)
    torch.testing.assert_close(says(body), before, rtol=0, atol=0)
    trained = {name for name, p in body.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    # The guide's usual targets: query and value of each of two layers, A and B each.
    assert len(trained) == 2 * 2 * 2


def test_the_first_weights_are_gaussian_of_one_over_rank_and_the_seeds_own(
    body: PreTrainedModel,
) -> None:
    lora = Lora(rank=16, dropout=0.0, target_modules=["query", "key", "value", "dense"])
    other = copy.deepcopy(body)
    adapters.attach(body, lora, seed=3)
    adapters.attach(other, lora, seed=3)
    drawn = {name: p for name, p in body.named_parameters() if "lora_A" in name}
    same = dict(other.named_parameters())
    assert all(torch.equal(value, same[name]) for name, value in drawn.items())
    deviation = torch.cat([value.detach().flatten() for value in drawn.values()]).std()
    assert float(deviation) == pytest.approx(1 / 16, rel=0.05)


@pytest.mark.parametrize("base", Base)
def test_merged_says_what_the_adapted_model_said(body: PreTrainedModel, base: Base) -> None:
    original = copy.deepcopy(body)
    if base is Base.DEQUANTIZED:
        adapters.quantize(body)
    adapters.attach(body, LORA, seed=3)
    taught(body)
    target = copy.deepcopy(original)
    adapters.merge(body, target, base)
    torch.testing.assert_close(says(target), says(body), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(says(target), says(original), atol=1e-2)
    assert all(p.dtype is torch.float32 for p in target.parameters())


def test_a_quantized_base_is_held_in_four_bits_and_still_teaches_its_adapters(
    body: PreTrainedModel,
) -> None:
    adapters.quantize(body)
    adapters.attach(body, LORA, seed=3)
    held = [p for name, p in body.named_parameters() if name.endswith("query.base_layer.weight")]
    assert held
    # Two weights share a byte.
    assert all(p.dtype is torch.uint8 and p.numel() == 64 * 64 // 2 for p in held)
    ids = torch.arange(5, 21).reshape(2, 8)
    body(input_ids=ids, attention_mask=torch.ones_like(ids))[0].square().sum().backward()
    learnt = [p.grad for name, p in body.named_parameters() if "lora_B" in name]
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in learnt)


def test_both_merges_of_a_quantized_base_are_measured_and_the_better_is_kept(
    body: PreTrainedModel,
) -> None:
    original = copy.deepcopy(body)
    adapters.quantize(body)
    adapters.attach(body, LORA, seed=3)
    taught(body)
    wanted = says(body)

    def near(model: nn.Module) -> float:
        return -float((says(model) - wanted).square().mean())

    ways = adapters.bases(Lora(quantized_base=True))
    found = adapters.best_merge(body, lambda: copy.deepcopy(original), near, ways)
    assert found.base is Base.DEQUANTIZED
    assert set(found.scores) == {Base.ORIGINAL, Base.DEQUANTIZED}
    assert found.scores[Base.DEQUANTIZED] > found.scores[Base.ORIGINAL]
    assert near(found.model) == found.scores[Base.DEQUANTIZED]
    far = adapters.best_merge(
        body, lambda: copy.deepcopy(original), lambda model: -near(model), ways
    )
    assert far.base is Base.ORIGINAL


def test_the_adapter_alone_is_read_by_peft(body: PreTrainedModel, tmp_path: Path) -> None:
    original = copy.deepcopy(body)
    tuner = adapters.attach(body, LORA, seed=3)
    taught(body)
    adapters.save(tuner, tmp_path)
    loaded = PeftModel.from_pretrained(original, str(tmp_path))
    torch.testing.assert_close(says(loaded), says(body), rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_not_there_is_named_beside_those_that_are(body: PreTrainedModel) -> None:
    with pytest.raises(BadInput, match=r"names q_proj, and the student has .*dense, key, query"):
        adapters.attach(body, Lora(target_modules=["q_proj"]), seed=3)


@pytest.mark.parametrize(
    ("kind", "parts"), [("granite", {"q_proj", "v_proj"}), ("phi3", {"qkv_proj"})]
)
def test_an_architecture_that_is_not_listed_is_adapted_by_the_usual_names(
    kind: str, parts: set[str]
) -> None:
    model = tiny_causal.model(kind, layers=1).model
    adapters.attach(model, LORA, seed=3)
    adapted = [name for name, one in model.named_modules() if isinstance(one, LoraLayer)]
    assert {name.rpartition(".")[2] for name in adapted} == parts
