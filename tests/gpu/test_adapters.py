"""QLoRA on an accelerator: 4-bit weights there, adapters over them, both merges measured."""

import copy
from collections.abc import Callable

import pytest
import tiny_models
import torch
from distill_api.training import Lora
from distill_trainer.students import adapters
from distill_trainer.students.adapters import Base
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

Tell = Callable[[str, str], None]
Memory = Callable[[], int]

LORA = Lora(rank=8, alpha=16, dropout=0.0)


@pytest.fixture(autouse=True, scope="module")
def _library() -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: NF4 weights are its own")


def body(hidden: int = 256) -> nn.Module:
    made: nn.Module = tiny_models.teacher(hidden=hidden, layers=2, dropout=0.0)[0].auto_model
    return made.eval()


def says(model: nn.Module) -> Tensor:
    device = next(model.parameters()).device
    ids = torch.arange(5, 69, device=device).reshape(4, 16)
    states: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    return states


def learn(model: nn.Module, steps: int = 20) -> list[float]:
    """Train the adapters to say something else; returns the losses."""
    target = torch.roll(says(model).detach(), 1, dims=0)
    adamw = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(steps):
        adamw.zero_grad()
        loss = (says(model) - target).square().mean()
        loss.backward()
        adamw.step()
        losses.append(float(loss.detach()))
    return losses


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_weights_quantised_on_the_cpu_are_those_quantised_here(device: torch.device, tell: Tell):
    whole = body()
    there, here = copy.deepcopy(whole), copy.deepcopy(whole).to(device)
    adapters.quantize(there)
    there.to(device)
    adapters.quantize(here)
    weights = dict(whole.named_parameters())
    worst = 0.0
    for name, layer in here.named_modules():
        if type(layer).__name__ != "Linear4bit":
            continue
        mine, theirs = (
            dequantize_module_weight(one.get_submodule(name)).cpu() for one in (here, there)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
        worst = max(worst, error(mine, weights[f"{name}.weight"].detach()))
    tell("NF4 weights from the originals, relative", f"{worst:.3f}")
    assert 0.01 < worst < 0.12


@pytest.mark.parametrize("base", Base)
def test_adapters_learn_over_four_bits_and_are_merged(device: torch.device, tell: Tell, base: Base):
    whole = body().to(device)
    adapted = copy.deepcopy(whole)
    adapters.quantize(adapted)
    adapters.attach(adapted, LORA, seed=3)
    adapted.to(device)
    losses = learn(adapted)
    assert losses[-1] < 0.9 * losses[0]
    wanted = says(adapted).detach()
    target = copy.deepcopy(whole)
    adapters.merge(adapted, target, base)
    found = error(says(target).detach(), wanted)
    tell(f"merged into the {base} weights, from what was trained", f"{found:.1e}")
    assert found < (1e-3 if base is Base.DEQUANTIZED else 0.5)
    assert {p.dtype for p in target.parameters()} == {torch.float32}
    assert {p.device.type for p in target.parameters()} == {device.type}


def test_bfloat16_computes_over_four_bits(device: torch.device, tell: Tell):
    whole = body().to(device)
    found = []
    for compute in (torch.float32, torch.bfloat16):
        adapted = copy.deepcopy(whole)
        adapters.quantize(adapted, compute=compute)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, compute.itemsize == 2):
            found.append(says(adapted).float())
    tell("NF4 computed in bfloat16, from float32", f"{error(found[1], found[0]):.1e}")
    assert error(found[1], found[0]) < 0.05


def test_four_bits_take_an_eighth_of_the_memory(device: torch.device, memory: Memory, tell: Tell):
    others = torch.cuda.memory_allocated()
    layers = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8))).to(device)
    before = torch.cuda.memory_allocated() - others
    adapters.quantize(layers)
    memory()
    saved = 1 - (torch.cuda.memory_allocated() - others) / before
    tell("memory of linear layers that NF4 saves", f"{saved:.1%}")
    assert saved > 0.8
