"""Whole trainings on an accelerator: they end as on a CPU, and bit-equal after a kill."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny_steps
import torch
from distill_trainer.errors import BadInput
from distill_trainer.training import loop
from distill_trainer.training.checkpoints import Store
from safetensors.torch import load_file
from tiny_given import Given

train_together: Any = import_module("train_together")  # tests are no package
Tell = Callable[[str, str], None]
Make = Callable[[Any], Any]

CPU = torch.device("cpu")
TRAINING: dict[str, object] = train_together.TRAINING
DROPOUT = 0.2
KINDS: dict[str, Make] = {
    "embedding": lambda made: made.embedding(**TRAINING),
    "embedding in parts": lambda made: made.embedding(**TRAINING, microBatchSize=2),
    "cross-encoder": lambda made: made.reranker("CrossEncoder", **TRAINING),
    "late interaction": lambda made: made.reranker("LateInteraction", **TRAINING),
    "generator": lambda made: made.generator(**TRAINING),
    "generator packed": lambda made: made.generator({"outputs": {}}, **TRAINING, packing=True),
    "generator bfloat16": lambda made: made.generator(
        {"outputs": {}, "logits": {}}, **TRAINING, precision="BFloat16", gradientCheckpointing=True
    ),
    "encoder-decoder": lambda made: tiny_steps.encoder_decoder(
        made.given.device, DROPOUT, **TRAINING
    ),
}
"""Each with dropout where its student has some."""
STILL: dict[str, Make] = {
    **{name: make for name, make in KINDS.items() if "bfloat16" not in name},
    # Its attention's dropout is no module that could be switched off.
    "encoder-decoder": lambda made: tiny_steps.encoder_decoder(made.given.device, **TRAINING),
}


def alone(course: Any, folder: Path, watch: loop.Watch) -> Any:
    return loop.train(course, Store(folder), watch)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_begun_again_the_weights_are_bit_equal(
    given: Given, tmp_path: Path, tell: Tell, kind: str
):
    course = KINDS[kind](train_together.Made(given))
    both = dict(train_together.endings(partial(copy.deepcopy, course), alone, tmp_path))
    ends = [train_together.weights(both[name][0]) for name in ("undisturbed", "killed")]
    assert ends[0].keys() == ends[1].keys()
    different = [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])]
    tell(
        f"killed and resumed: {kind}", "bit-equal" if not different else f"{len(different)} differ"
    )
    assert not different


@pytest.mark.parametrize("kind", STILL)
def test_the_learning_curve_is_a_cpus(given: Given, tmp_path: Path, tell: Tell, kind: str):
    curves = []
    for place in (CPU, given.device):
        course = STILL[kind](train_together.Made(replace(given, device=place)))
        tiny_steps.still(course.student)
        folder = tmp_path / str(len(curves))
        standing = loop.train(course, Store(folder), loop.Watch())
        curves.append([point["loss"] for point in standing.curve[1:]])
    apart = max(abs(b / a - 1) for a, b in zip(*curves, strict=True))
    tell(f"losses of 6 steps apart from the CPU's: {kind}", f"{apart:.1e}")
    assert apart < 1e-3


def test_bfloat16_keeps_weights_and_moments_in_float32(given: Given, tmp_path: Path, tell: Tell):
    ends = []
    for precision in ("Float32", "BFloat16"):
        made = train_together.Made(given)
        course = made.generator({"outputs": {}, "logits": {}}, **TRAINING, precision=precision)
        store = Store(tmp_path / precision)
        ends.append(loop.train(course, store, loop.Watch()).curve[-1]["loss"])
        kept = load_file(store.path(6) / "state.safetensors")
        moving = {name for name in kept if name.startswith(("student.", "adamw."))}
        assert {kept[name].dtype for name in moving} == {torch.float32}
        assert {name.rpartition(".")[2] for name in moving} >= {"exp_avg", "exp_avg_sq", "step"}
    tell("loss after 6 steps in bfloat16, over that in float32", f"{ends[1] / ends[0]:.4f}")
    assert ends[1] == pytest.approx(ends[0], rel=0.03)


def test_a_checkpoint_of_an_accelerator_goes_on_on_a_cpu(given: Given, tmp_path: Path):
    course = KINDS["embedding"](train_together.Made(given))
    loop.train(course, Store(tmp_path), loop.Watch())
    on_cpu = KINDS["embedding"](train_together.Made(replace(given, device=CPU)))
    store = Store(tmp_path)
    shutil.rmtree(store.path(6))
    standing = loop.train(on_cpu, store, loop.Watch())
    assert standing.step == 6
    pairs = zip(on_cpu.student.parameters(), course.student.parameters(), strict=True)
    # Two steps of one learning rate each, with other dropout.
    assert max(float((a - b.cpu()).detach().abs().max()) for a, b in pairs) < 1e-2


def test_a_diverged_step_is_told(given: Given, tmp_path: Path):
    course = train_together.Made(given).embedding(**TRAINING)
    with torch.no_grad():
        course.student[0].auto_model.embeddings.word_embeddings.weight.fill_(float("inf"))
    with pytest.raises(BadInput, match="lower training"):
        loop.train(replace(course, validation=Blind()), Store(tmp_path), loop.Watch())


class Blind:
    """Validates without looking."""

    def score(self, _encoder: object) -> float:
        return 0.0
