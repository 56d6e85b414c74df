"""Writes a causal student with smaller weights, by llm-compressor, as compressed-tensors.

Sources: Frantar et al. 2022, arXiv:2210.17323 (GPTQ); Lin et al. 2023, arXiv:2306.00978 (AWQ);
Xiao et al. 2022, arXiv:2211.10438 (SmoothQuant).
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from os import environ
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from distill_api.names import Reason
from distill_api.training import QuantizationMethod, Quantize
from torch import Tensor
from torch.utils.data import DataLoader

from distill_trainer.errors import BadInput, last_line
from distill_trainer.quantizing import fake, schemes
from distill_trainer.students.causal import Causal
from distill_trainer.training.sequences import Taught

SMOOTHING: Final = 0.8
"""How much of the activations' range SmoothQuant moves into the weights; its paper's for Llama."""
SMOOTHES: Final = frozenset({QuantizationMethod.AWQ, QuantizationMethod.INT8})
"""Methods that move range from activations into weights first."""


def made_with() -> str:
    """Name the library that writes."""
    return f"llmcompressor {version('llmcompressor')}"


def calibrates(wanted: Quantize) -> bool:
    """Tell whether records are needed; a student that was trained to be rounded is only rounded."""
    return not (wanted.aware_training or wanted.method is QuantizationMethod.INT4)


def chosen(taught: Sequence[Taught], wanted: Quantize, *, seed: int) -> list[Taught]:
    """Draw the records that calibrate; none where the method only rounds."""
    if not calibrates(wanted):
        return []
    drawn = np.random.Generator(np.random.PCG64([seed, len(taught)])).permutation(len(taught))
    return [taught[int(place)] for place in sorted(drawn[: wanted.calibration_records])]


def compress(student: Causal, wanted: Quantize, records: Sequence[Taught], folder: Path) -> None:
    """Quantise a student in place and write its folder: weights, configuration, tokenizer.

    records: prompts with their answers, as the student reads them; what calibrates. Integers are
    found in float32; only then are scales and what stays float rounded to bfloat16, in which
    servers compute. Raises BadInput where the architecture or the group size does not allow it.
    """
    scheme = schemes.of(wanted)
    schemes.check(student.model, scheme)
    smoothed = _norms(student)
    _quieten()
    with _pinned_only_for_gpus():
        _run(student, _recipe(student, wanted), records)
    if wanted.method in SMOOTHES and calibrates(wanted):
        _check_smoothed(student, smoothed, wanted)
    if wanted.aware_training:
        fake.settle(student.model, scheme)
    _save(student, folder)


def _run(student: Causal, recipe: list[Any], records: Sequence[Taught]) -> None:
    from llmcompressor import oneshot

    try:
        oneshot(
            model=student.model,
            tokenizer=student.tokenizer,
            recipe=recipe,
            dataset=_loader(records) if records else None,
        )
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError) as error:
        kind = student.model.config.model_type
        raise BadInput(
            Reason.BAD_MODEL,
            f"llm-compressor cannot quantise a student of type {kind} by this method"
            f" ({last_line(error)}): use method INT4, which only rounds, or remove spec.quantize",
        ) from error


def _recipe(student: Causal, wanted: Quantize) -> list[Any]:
    """Return what llm-compressor is to do, in its order."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    what = {
        "config_groups": schemes.of(wanted).config_groups(),
        "ignore": schemes.head(student.model),
    }
    if not calibrates(wanted):
        return [QuantizationModifier(**what)]
    match wanted.method:
        case QuantizationMethod.GPTQ:
            return [GPTQModifier(**what)]
        case QuantizationMethod.AWQ:
            return [AWQModifier(), QuantizationModifier(**what)]
        case _:
            return [SmoothQuantModifier(smoothing_strength=SMOOTHING), GPTQModifier(**what)]


def _loader(records: Sequence[Taught]) -> DataLoader[Any]:
    """Give one record at a time: padding would calibrate, too."""
    rows = [torch.from_numpy(np.concatenate([one.prompt, one.target])) for one in records]
    made = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]
    return DataLoader(made, batch_size=1)  # type: ignore[arg-type]  # a list is a dataset


def _save(student: Causal, folder: Path) -> None:
    from compressed_tensors import ModelCompressor

    # Before the cast: integers of rounded weights by rounded scales would be others.
    ModelCompressor.from_pretrained_model(student.model).compress_model(student.model)
    student.model.to(torch.device("cpu"), torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # llm-compressor hands every model over as offloaded; this one is in memory.
        warnings.filterwarnings("ignore", "Attempting to save a model with offloaded modules")
        student.model.save_pretrained(str(folder), save_compressed=True)
    student.tokenizer.save_pretrained(str(folder))


def _norms(student: Causal) -> dict[str, Tensor]:
    """Copy the weights that smoothing scales beside the layers'."""
    return {
        name: weight.detach().clone()
        for name, weight in student.model.named_parameters()
        if weight.ndim == 1
    }


def _check_smoothed(student: Causal, before: dict[str, Tensor], wanted: Quantize) -> None:
    """Refuse a model of which nothing was smoothed: llm-compressor would only have rounded it."""
    now = dict(student.model.named_parameters())
    if any(not torch.equal(now[name].cpu(), weight.cpu()) for name, weight in before.items()):
        return
    kind = student.model.config.model_type
    raise BadInput(
        Reason.BAD_MODEL,
        f"{wanted.method.value} scales the norms before a model's layers, and none of a model of"
        f" type {kind} were found: use GPTQ or INT4, which need none",
    )


def _quieten() -> None:
    """Keep llm-compressor's own lines out of the stage's log; what it raises is told.

    It reads the variable when it is first imported.
    """
    environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "ERROR")


@contextlib.contextmanager
def _pinned_only_for_gpus() -> Iterator[None]:
    """Let AWQ run on processors: since 0.14 it pins memory for a GPU whether there is one or not.

    github.com/vllm-project/llm-compressor/pull/2813; remove once pinning asks for one.
    """
    from llmcompressor.pipelines.cache import IntermediatesCache

    pin = IntermediatesCache.pin_memory
    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = _leave
    try:
        yield
    finally:
        IntermediatesCache.pin_memory = pin


def _leave(_cache: Any, _batch: int, _names: Any = None) -> None:
    """Do nothing."""
