"""Low-rank adapters on a student: attached, held over 4-bit weights where asked, merged, kept.

Sources: Hu et al. 2021, arXiv:2106.09685 (LoRA); Dettmers et al. 2023, arXiv:2305.14314 (QLoRA).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import torch
from distill_api.names import Reason
from distill_api.training import Lora, MergeInto
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer, LoraModel
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_trainer.errors import BadInput, last_line

ADAPTER: Final = "default"
NOT_QUANTIZED: Final = ("lm_head", "embed_out", "shared", "classifier", "score", "pooler", "wo")
"""Layers next to the model's outputs stay in full precision, as in the QLoRA paper's code; `wo` of
a T5 because it looks at that weight's type and would cast its input to bytes."""


NAMED_ALIKE: Final = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("q_lin", "v_lin"),
    ("qkv_proj",),
    ("query_key_value",),
    ("Wqkv",),
)
"""What architectures call the layers that make queries and values: those that PEFT does not list
yet (Granite, Phi 3) keep to what is usual."""


class Base(StrEnum):
    """The weights that a trained adapter is added to."""

    ORIGINAL = "original"
    DEQUANTIZED = "dequantized"


def quantize(body: nn.Module, *, compute: torch.dtype = torch.float32) -> None:
    """Hold the linear layers' frozen weights in 4-bit NF4, in place; forward in `compute`.

    Its scales are not quantised again: CPU kernels do not promise to read those.
    """
    import bitsandbytes as bnb

    for parent, name, linear in list(_linears(body)):
        held = bnb.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=compute,
            compress_statistics=False,
            quant_type="nf4",
        )
        weight = linear.weight.detach()
        held.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, quant_type="nf4", compress_statistics=False
        ).to(weight.device)
        held.bias = linear.bias
        # CPUs with bfloat16 would pack the weights anew on a look without gradients, in place: the
        # scales rounded, and only where both sides are multiples of 32 and 64.
        held.support_avx512bf16_for_cpu = False
        setattr(parent, name, held)


def attach(body: PreTrainedModel, lora: Lora, *, seed: int) -> LoraModel:
    """Put new adapters beside layers of a model, in place; everything else of it is frozen.

    A is drawn from a Gaussian of deviation 1/rank, B is 0: the model says what it said before.
    Raises BadInput where the model has none of the layers that the spec names.
    """
    targets = lora.target_modules or _usual_targets(body)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        init_lora_weights="gaussian",
        bias="none",
    )
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return LoraModel(body, {ADAPTER: config}, ADAPTER)
        except ValueError as error:
            raise _no_such_layer(body, targets, error) from error


def train_head(body: PreTrainedModel) -> None:
    """Train what follows the layers, as a classifier that is new must not stay as it is."""
    inside = {id(parameter) for parameter in body.base_model.parameters()}
    for name, parameter in body.named_parameters():
        if id(parameter) not in inside and ".lora_" not in name:
            parameter.requires_grad_(True)


def merge(body: nn.Module, original: nn.Module, base: Base) -> None:
    """Write base weights + adapters into `original`, the same model in full precision; in place.

    Nothing is rounded to 4 bit again: what is merged there would lose most of what was learnt.
    Whatever else was trained beside the adapters is copied.
    """
    adapted = {name: layer for name, layer in body.named_modules() if isinstance(layer, LoraLayer)}
    with torch.no_grad():
        for name, layer in adapted.items():
            weight = _weight(original, name)
            delta = _delta(layer)
            if base is Base.DEQUANTIZED:
                weight.copy_(dequantize_module_weight(layer.get_base_layer()).reshape(weight.shape))
            weight.add_(delta.to(weight.dtype))
        for name, trained in body.named_parameters():
            if trained.requires_grad and ".lora_" not in name:
                original.get_parameter(name).copy_(trained)
        if base is Base.DEQUANTIZED:
            _copy_other_quantized(body, original, set(adapted))


@dataclass(frozen=True, slots=True)
class Merged[M: nn.Module]:
    """A student with its adapters merged, and how each way of merging did."""

    model: M
    base: Base
    scores: dict[Base, float]
    """Validation score by base."""


def bases(lora: Lora) -> tuple[Base, ...]:
    """Return the ways of merging that are measured for a spec."""
    match lora.merge_into:
        case MergeInto.ORIGINAL:
            return (Base.ORIGINAL,)
        case MergeInto.DEQUANTIZED:
            return (Base.DEQUANTIZED,)
        case _:
            return tuple(Base) if lora.quantized_base else (Base.ORIGINAL,)


def best_merge[M: nn.Module](
    body: M, original: Callable[[], M], score: Callable[[M], float], ways: Sequence[Base]
) -> Merged[M]:
    """Merge in each of some ways, measure, keep the better.

    original: makes the full-precision model anew. The adapter was trained over the dequantised
    weights; the original ones are often, not always, the better base all the same.
    """
    best: Merged[M] | None = None
    scores: dict[Base, float] = {}
    for base in ways:
        model = original()
        merge(body, model, base)
        scores[base] = score(model)
        if best is None or scores[base] > scores[best.base]:
            best = Merged(model, base, scores)
    assert best is not None
    return best


def save(tuner: LoraModel, folder: Path) -> None:
    """Write the adapter alone, as PEFT reads it: adapter_config.json and safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(tuner, adapter_name=ADAPTER)
    weights = {
        f"base_model.model.{name.removeprefix('model.')}": value.detach().cpu().contiguous()
        for name, value in state.items()
    }
    empty = [name for name, value in weights.items() if not value.numel()]
    if empty:
        raise RuntimeError(f"the adapter's weights were not gathered before saving: {empty[0]}")
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    tuner.peft_config[ADAPTER].save_pretrained(str(folder))


def _usual_targets(body: PreTrainedModel) -> list[str]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    kind = body.config.model_type
    if kind in USUAL:
        usual = USUAL[kind]
        return [usual] if isinstance(usual, str) else list(usual)
    names = set(_linear_names(body))
    for queries_and_values in NAMED_ALIKE:
        if names.issuperset(queries_and_values):
            return list(queries_and_values)
    raise BadInput(
        Reason.BAD_RECIPE,
        f"training.lora.targetModules is needed for a model of type {kind}, whose attention layers"
        f" are not known: name some of {', '.join(_linear_names(body))}",
    )


def _no_such_layer(body: PreTrainedModel, targets: list[str], error: Exception) -> BadInput:
    return BadInput(
        Reason.BAD_RECIPE,
        f"training.lora.targetModules names {', '.join(targets)}, and the student has linear"
        f" layers {', '.join(_linear_names(body))}: name some of these ({last_line(error)})",
    )


def _linear_names(body: nn.Module) -> list[str]:
    """List the last parts of the names of linear layers, each once."""
    names = (name for name, module in body.named_modules() if isinstance(module, nn.Linear))
    return sorted({name.rpartition(".")[2] for name in names})


def _linears(body: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield (parent, name in it, layer) of the linear layers that are quantised."""
    for path, module in body.named_modules():
        for name, child in module.named_children():
            outputs = name in NOT_QUANTIZED or path.rpartition(".")[2] in NOT_QUANTIZED
            if type(child) is nn.Linear and not outputs:
                yield module, name, child


def _copy_other_quantized(body: nn.Module, original: nn.Module, done: set[str]) -> None:
    """Copy the dequantised weights of layers without an adapter, which trained ones got used to."""
    for name, module in body.named_modules():
        inner: Any = module
        if type(inner).__name__ != "Linear4bit" or name.removesuffix(".base_layer") in done:
            continue
        weight = _weight(original, name)
        weight.copy_(dequantize_module_weight(inner).reshape(weight.shape))


def _delta(layer: Any) -> Tensor:
    """Return what the adapter adds to its layer's weight: B A, scaled; [out, in]."""
    delta: Tensor = layer.get_delta_weight(ADAPTER)
    return delta


def _weight(model: nn.Module, layer: str) -> nn.Parameter:
    weight = model.get_submodule(layer).weight
    assert isinstance(weight, nn.Parameter)
    return weight
