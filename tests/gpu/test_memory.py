"""What the accelerator's memory holds: few logits at a time, few activations, weights of 4 bits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny_causal
import torch
from distill_api.recipe import GeneratorRecipe
from distill_api.training import Training
from distill_trainer.losses import chunks
from distill_trainer.students.causal import Causal
from distill_trainer.teachers.answers import Distributions
from distill_trainer.training import runtime
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.sequences import Taught
from tiny_steps import apart, step

Tell = Callable[[str, str], None]
Memory = Callable[[], int]

VOCABULARY = 32_768
KEPT = 32
ROWS, PROMPT, TARGET = 4, 64, 448


def answers(*, cached: bool) -> list[Taught]:
    generator = np.random.default_rng(1)
    found = []
    for _ in range(ROWS):
        prompt, target = (generator.integers(8, VOCABULARY, size) for size in (PROMPT, TARGET))
        told = None
        if cached:
            ids = np.stack([generator.permutation(VOCABULARY)[:KEPT] for _ in range(TARGET)])
            logprobs = np.log(generator.dirichlet(np.ones(KEPT + 1), TARGET)).astype(np.float32)
            told = Distributions(
                ids.astype(np.uint32), logprobs[:, :KEPT].astype(np.float16), logprobs[:, KEPT]
            )
        found.append(Taught(prompt, target, told))
    return found


def large(layers: int = 2, hidden: int = 128) -> Causal:
    known = len(tiny_causal.tokenizer())
    return tiny_causal.model(
        layers=layers, hidden=hidden, padded=VOCABULARY - known, max_position_embeddings=1024
    )


def course(causal: Causal, device: torch.device, recipe: dict[str, Any]) -> GeneratorCourse:
    causal.model.to(device)
    examples = answers(cached="logits" in recipe)
    return GeneratorCourse(
        recipe=GeneratorRecipe.model_validate(recipe),
        training=Training.model_validate({"batchSize": ROWS, "maxSteps": 1}),
        writer=causal,
        examples=examples,
        validation=examples,
        device=device,
        vocabulary=VOCABULARY,
    )


def test_the_cached_loss_in_chunks_keeps_few_logits(
    device: torch.device, memory: Memory, tell: Tell, monkeypatch: pytest.MonkeyPatch
):
    steps, peaks = [], []
    for most in (1 << 22, 1 << 40):
        monkeypatch.setattr(chunks, "LOGITS_ACCELERATOR", most)
        made = course(large(), device, {"logits": {"temperature": 2}})
        memory()
        steps.append(step(made))
        peaks.append(memory())
    tell("peak memory of the cached loss, in chunks", f"{peaks[0] / 2**20:.0f} MiB")
    tell("peak memory of the cached loss, in one piece", f"{peaks[1] / 2**20:.0f} MiB")
    assert float(steps[0]["loss"]) == pytest.approx(float(steps[1]["loss"]), rel=1e-5)
    assert apart(*steps) < 2e-5
    assert peaks[0] < peaks[1] / 2


def test_gradient_checkpointing_keeps_few_activations(
    device: torch.device, memory: Memory, tell: Tell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "LOGITS_ACCELERATOR", 1 << 22)
    steps, peaks = [], []
    for checkpointed in (True, False):
        made = course(large(layers=12, hidden=256), device, {"outputs": {}})
        if checkpointed:
            runtime.checkpoint_activations(made.writer.model)
        memory()
        steps.append(step(made))
        peaks.append(memory())
    tell("peak memory of 12 layers, checkpointed", f"{peaks[0] / 2**20:.0f} MiB")
    tell("peak memory of 12 layers, all activations kept", f"{peaks[1] / 2**20:.0f} MiB")
    assert apart(*steps) < 1e-6
    assert peaks[0] < 0.8 * peaks[1]


def test_the_largest_step_fits_what_a_stage_without_room_is_told(device: torch.device):
    if device.type == "cpu":
        pytest.skip("needs an accelerator: its memory runs out")
    from distill_api.names import Reason
    from distill_trainer import errors

    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 46, dtype=torch.uint8, device=device)
    failure, _ = errors.failure(caught.value)
    assert failure.reason is Reason.OUT_OF_MEMORY
    assert "training.microBatchSize" in failure.message
