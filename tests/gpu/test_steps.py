"""A step on an accelerator has the loss and the gradients that it has on a CPU."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import tiny_causal
import tiny_courses
import tiny_steps
import torch
from distill_trainer.training import encode
from tiny_given import Given
from tiny_steps import apart, step

train_together: Any = import_module("train_together")  # tests are no package
Tell = Callable[[str, str], None]

CPU = torch.device("cpu")
BOUND = 2e-5
"""Largest difference of a gradient in float32, over the largest gradient: the order of sums."""
KEYS = (
    "embedding/every/whole",
    "embedding/every/parts",
    "embedding/matryoshka/checkpointed",
    "reranker/BiEncoder/whole",
    "reranker/LateInteraction/parts",
    "reranker/CrossEncoder/checkpointed",
    "generator/inside/whole",
    "generator/inside/checkpointed",
    "generator/packed/whole",
)
CACHED = {"outputs": {"labelSmoothing": 0.1}, "logits": {"temperature": 2}}


@pytest.mark.parametrize("key", KEYS)
def test_every_component_has_the_gradients_of_a_cpu(given: Given, tell: Tell, key: str):
    expected, found = (
        step(train_together.course(train_together.Made(one), key, exact=False))
        for one in (replace(given, device=CPU), given)
    )
    tell(f"gradients apart from the CPU's: {key}", f"{apart(found, expected):.1e}")
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert apart(found, expected) < BOUND


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_cached_distributions_teach_the_same(
    device: torch.device, tell: Tell, kind: torch.dtype, *, packing: bool
):
    teacher = tiny_causal.model()
    steps = []
    for place in (CPU, device):
        student = tiny_causal.model(layers=2, seed=1)
        examples = tiny_courses.some(student, 9, teacher)
        student.model.to(place, kind)
        made = tiny_courses.course(CACHED, examples, student, packing=packing)
        steps.append(step(replace(made, device=place)))
    found = apart(steps[1], steps[0])
    tell(f"gradients apart from the CPU's: cached, packing={packing}, {kind}", f"{found:.1e}")
    # RMSNorm computes in float32 whatever the model is.
    assert found < BOUND


def test_an_encoder_decoder_has_the_gradients_of_a_cpu(device: torch.device, tell: Tell):
    expected, found = (step(tiny_steps.encoder_decoder(place)) for place in (CPU, device))
    tell("gradients apart from the CPU's: T5", f"{apart(found, expected):.1e}")
    assert apart(found, expected) < BOUND


def test_packed_answers_have_the_gradients_of_padded_ones(device: torch.device):
    steps = []
    for packing in (False, True):
        student = tiny_causal.model(layers=2, seed=1)
        student.model.to(device)
        made = tiny_courses.course(
            {"outputs": {}}, tiny_courses.some(student, 9), student, packing=packing
        )
        steps.append(step(replace(made, device=device)))
    assert apart(steps[1], steps[0]) < BOUND


def test_bfloat16_teaches_float32_weights_in_nearly_the_same_direction(
    device: torch.device, tell: Tell
):
    steps = []
    for precision in ("Float32", "BFloat16"):
        student = tiny_causal.model(layers=2, seed=1)
        student.model.to(device)
        made = tiny_courses.course(
            {"outputs": {}}, tiny_courses.some(student, 9), student, precision=precision
        )
        steps.append(step(replace(made, device=device)))
        assert {p.dtype for p in student.model.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in student.model.parameters()} == {torch.float32}
    rows = [torch.cat([steps[n][name].flatten() for name in sorted(steps[0])]) for n in (0, 1)]
    cosine = float(torch.nn.functional.cosine_similarity(*rows, dim=0))
    tell("cosine of gradients in bfloat16 to those in float32", f"{cosine:.5f}")
    assert cosine > 0.99


def test_the_second_pass_of_a_text_has_the_dropout_of_the_first(given: Given):
    made = train_together.Made(given).embedding(microBatchSize=1)
    made.student.train()
    texts = made.source.batch(0, given.device).texts[:6]
    state = encode._chance(given.device)
    first = made.encoder.forward(texts)
    other = made.encoder.forward(texts)
    with state:
        again = made.encoder.forward(texts)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
