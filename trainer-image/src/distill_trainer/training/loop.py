"""The loop: batch, forward, loss, backward, step; validate, checkpoint, report."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from distill_api.names import Reason

from distill_trainer.distributed import chance
from distill_trainer.distributed.strategy import Alone, Strategy
from distill_trainer.errors import BadInput, PeerLost, TryAgain
from distill_trainer.training import optimiser
from distill_trainer.training.checkpoints import Parts, Standing, Store
from distill_trainer.training.course import Course

CURVE_POINTS = 500
"""Steps recorded in the learning curve, spread evenly."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How the loop talks to the world around it."""

    tell: Callable[[int, int, dict[str, float]], None] = lambda _done, _total, _metrics: None
    """Told steps done, steps in all, and numbers."""
    stop: Callable[[], bool] = lambda: False
    """Asked after each step whether the pod has to go."""


def train(course: Course, store: Store, watch: Watch, strategy: Strategy | None = None) -> Standing:
    """Train course's student to the end, from the last checkpoint where there is one.

    Leaves the weights of the best validation in the student. The same course, seed and number of
    threads give the same weights, bit for bit on a CPU, wherever it was interrupted.
    strategy: how several processes train it, the one that the course was made with.
    Raises TryAgain after a checkpoint when watch.stop says so, BadInput when training diverges.
    """
    strategy = strategy or Alone()
    world = strategy.world
    parts, standing = _begin(course, store, strategy)
    strategy.taught(course.student).train()
    while standing.step < course.steps and not standing.stopped_early:
        began = time.monotonic()
        recorded = _step(course, parts, standing.step)
        standing.step += 1
        recorded["examplesPerSecond"] = recorded.pop("examples") / (time.monotonic() - began)
        _after(course, store, parts, standing, recorded)
        if world.first:
            _tell(course, store, standing, watch, recorded)
        stop = watch.stop()
        if world.anyone(flag=stop) and standing.step < course.steps:
            _leave(store, parts, standing, course.steps, asked=stop)
    strategy.finish()
    store.restore_student(course.student, standing.best_step, world)
    course.student.eval()
    return standing


def _begin(course: Course, store: Store, strategy: Strategy) -> tuple[Parts, Standing]:
    """Go on from the last complete checkpoint, or start with the seed."""
    world = strategy.world
    done = world.told(store.steps())
    standing = Standing()
    kept = store.read(done[-1], world) if done else None
    if kept is None:
        torch.manual_seed(course.training.seed)
        course.begin()
        standing.curve.append({"step": 0, "validation": world.told(course.score())})
    else:
        kept.set_weights(course.student, course.helpers)
    adamw = course.optimiser()
    trained = strategy.wrap(course.student, course.helpers, adamw)
    parts = Parts(trained, course.helpers, adamw, strategy)
    return parts, kept.set_rest(parts) if kept is not None else standing


def _step(course: Course, parts: Parts, step: int) -> dict[str, Any]:
    """Do one optimiser step, counted from 0; return what the learning curve records."""
    optimizer = course.training.optimizer
    factor = optimiser.learning_rate_factor(step, course.steps, optimizer)
    rate = optimiser.set_learning_rate(parts.adamw, factor)
    parts.adamw.zero_grad(set_to_none=True)
    chance.settle(parts.strategy.world, course.training.seed, step)
    learnt = course.learn(step)
    norm = parts.strategy.clip(parts.adamw, optimizer.max_gradient_norm or math.inf)
    _refuse_divergence(step + 1, learnt.loss, norm, rate)
    parts.strategy.step(parts.adamw)
    return {
        "step": step + 1,
        "loss": learnt.loss,
        "parts": learnt.parts,
        "learningRate": rate,
        "gradientNorm": norm,
        "examples": learnt.examples,
        **learnt.told,
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
    training = course.training
    last = standing.step == course.steps
    improved = False
    if last or standing.step % (training.validation_steps or training.checkpoint_steps) == 0:
        # One process's number for all: what depends on it must be decided alike everywhere.
        recorded["validation"] = parts.strategy.world.told(course.score())
        improved = _weigh(course, standing, recorded["validation"])
    every = max(course.steps // CURVE_POINTS, 1)
    if "validation" in recorded or standing.step == 1 or standing.step % every == 0:
        standing.curve.append(recorded)
    if improved or last or standing.step % training.checkpoint_steps == 0:
        store.save(parts, standing)


def _weigh(course: Course, standing: Standing, score: float) -> bool:
    """Compare a validation score with the best so far; True when it is the best now."""
    stopping = course.training.early_stopping
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


def _leave(store: Store, parts: Parts, standing: Standing, steps: int, *, asked: bool) -> None:
    """Write a checkpoint, then end this attempt. asked: this pod has to go, not only another."""
    if standing.step not in parts.strategy.world.told(store.steps()):
        store.save(parts, standing)
    if not asked:
        raise PeerLost("Another pod", f"it was asked to stop at step {standing.step} of {steps}")
    raise TryAgain(
        Reason.EVICTED,
        f"the pod was asked to stop at step {standing.step} of {steps}; a checkpoint was written"
        " and training goes on from it",
    )
