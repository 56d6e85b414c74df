"""The loop: batch, forward, loss, backward, step; validate, checkpoint, report."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from distill_api.names import Reason
from torch import Tensor

from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.losses.weighted import Loss, embedding_loss
from distill_trainer.training import encode, optimiser
from distill_trainer.training.checkpoints import Parts, Standing, Store
from distill_trainer.training.courses import Course

CURVE_POINTS = 500
"""Steps recorded in the learning curve, spread evenly."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How the loop talks to the world around it."""

    tell: Callable[[int, int, dict[str, float]], None] = lambda _done, _total, _metrics: None
    """Told steps done, steps in all, and numbers."""
    stop: Callable[[], bool] = lambda: False
    """Asked after each step whether the pod has to go."""


def train(course: Course, store: Store, watch: Watch) -> Standing:
    """Train course's student to the end, from the last checkpoint where there is one.

    Leaves the weights of the best validation in the student. The same course, seed and number of
    threads give the same weights, bit for bit on a CPU, wherever it was interrupted.
    Raises TryAgain after a checkpoint when watch.stop says so, BadInput when training diverges.
    """
    student = course.encoder.student
    adamw = optimiser.build(student, course.projections, course.lesson.training.optimizer)
    parts = Parts(student, course.projections, adamw)
    standing = _begin(course, store, parts)
    student.train()
    while standing.step < course.steps and not standing.stopped_early:
        began = time.monotonic()
        recorded = _step(course, parts, standing.step)
        standing.step += 1
        recorded["examplesPerSecond"] = recorded.pop("examples") / (time.monotonic() - began)
        _after(course, store, parts, standing, recorded)
        _tell(course, store, standing, watch, recorded)
        if watch.stop() and standing.step < course.steps:
            _leave(store, parts, standing, course.steps)
    student.load_state_dict(store.student_weights(standing.best_step))
    student.eval()
    return standing


def _begin(course: Course, store: Store, parts: Parts) -> Standing:
    """Go on from the last complete checkpoint, or start with the seed."""
    done = store.steps()
    if done:
        return store.restore(parts, done[-1])
    torch.manual_seed(course.lesson.training.seed)
    course.fit_projections()
    untrained = course.validation.score(course.encoder)
    return Standing(curve=[{"step": 0, "validation": untrained}])


def _step(course: Course, parts: Parts, step: int) -> dict[str, Any]:
    """Do one optimiser step, counted from 0; return what the learning curve records."""
    optimizer = course.lesson.training.optimizer
    factor = optimiser.learning_rate_factor(step, course.steps, optimizer)
    rate = optimiser.set_learning_rate(parts.adamw, factor)
    batch = course.source.batch(step, course.encoder.device)
    targets, projections = course.targets(batch.texts), course.projections.by_width()
    losses: list[Loss] = []

    def loss_of(embeddings: Tensor) -> Tensor:
        losses.append(
            embedding_loss(course.lesson.recipe, embeddings, targets, batch.rows, projections)
        )
        return losses[-1].total

    parts.adamw.zero_grad(set_to_none=True)
    encode.backward(course.encoder, batch.texts, loss_of, course.max_rows)
    trained = [p for group in parts.adamw.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(trained, optimizer.max_gradient_norm or math.inf))
    value = float(losses[0].total.detach())
    _refuse_divergence(step + 1, value, norm, rate)
    parts.adamw.step()
    return {
        "step": step + 1,
        "loss": value,
        "parts": {name: float(part) for name, part in losses[0].parts.items()},
        "learningRate": rate,
        "gradientNorm": norm,
        "examples": batch.examples,
    }


def _refuse_divergence(step: int, loss: float, norm: float, rate: float) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise BadInput(
        Reason.TRAINING_DIVERGED,
        f"training diverged at step {step} (loss {loss:g}, gradient norm {norm:g}, learning rate"
        f" {rate:g}): lower training.optimizer.learningRate to a tenth, raise warmupRatio, keep"
        " maxGradientNorm at 1, or raise the temperature of a contrastive loss",
    )


def _after(
    course: Course, store: Store, parts: Parts, standing: Standing, recorded: dict[str, Any]
) -> None:
    """Validate, record and checkpoint, each when it is due."""
    training = course.lesson.training
    last = standing.step == course.steps
    improved = False
    if last or standing.step % (training.validation_steps or training.checkpoint_steps) == 0:
        recorded["validation"] = course.validation.score(course.encoder)
        improved = _weigh(course, standing, recorded["validation"])
    every = max(course.steps // CURVE_POINTS, 1)
    if "validation" in recorded or standing.step == 1 or standing.step % every == 0:
        standing.curve.append(recorded)
    if improved or last or standing.step % training.checkpoint_steps == 0:
        store.save(parts, standing)


def _weigh(course: Course, standing: Standing, score: float) -> bool:
    """Compare a validation score with the best so far; True when it is the best now."""
    stopping = course.lesson.training.early_stopping
    needed = stopping.min_improvement if stopping else 0.0
    best = standing.best_score
    counts = best is None or score > best + needed
    standing.without_improvement = 0 if counts else standing.without_improvement + 1
    standing.stopped_early = stopping is not None and (
        standing.without_improvement >= stopping.patience
    )
    if best is not None and score <= best:
        return False
    standing.best_score, standing.best_step = score, standing.step
    return True


def _tell(
    course: Course, store: Store, standing: Standing, watch: Watch, recorded: dict[str, Any]
) -> None:
    metrics = {
        "step": float(standing.step),
        "loss": recorded["loss"],
        "learningRate": recorded["learningRate"],
        "examplesPerSecond": recorded["examplesPerSecond"],
        "checkpointStep": float(max(store.steps(), default=0)),
    }
    if standing.best_score is not None:
        metrics["validation"] = standing.best_score
    watch.tell(standing.step, course.steps, metrics)


def _leave(store: Store, parts: Parts, standing: Standing, steps: int) -> None:
    """Write a checkpoint, then end this attempt."""
    if standing.step not in store.steps():
        store.save(parts, standing)
    raise TryAgain(
        Reason.EVICTED,
        f"the pod was asked to stop at step {standing.step} of {steps}; a checkpoint was written"
        " and training goes on from it",
    )
