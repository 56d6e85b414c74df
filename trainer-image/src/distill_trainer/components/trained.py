"""The train stage as every component has it: opened, taught, merged, written and told."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from distill_api.names import Stage
from distill_api.wire import Report
from peft.tuners.lora import LoraModel
from safetensors.torch import save_file
from torch import nn

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.components import adapted
from distill_trainer.context import Context
from distill_trainer.distributed import strategies
from distill_trainer.distributed.launch import leads
from distill_trainer.distributed.world import World, joined
from distill_trainer.training import convergence, loop, runtime
from distill_trainer.training.checkpoints import Standing, Store
from distill_trainer.training.course import Shared
from distill_trainer.workspace import Draft

CHECKPOINTS: Final = "checkpoints"
STUDENT: Final = "student"
CURVES: Final = "curves.jsonl"
TOKENS: Final = "tokens.npz"
TEACHING: Final = "teaching.json"
"""How a student that writes was asked; in its folder."""
OF_A_WRITER: Final = {
    "validationMeasure": "log-likelihood, nats a token",
    "masterWeights": "float32",
}
"""Facts of every student that writes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A train stage that is to be done."""

    prepared: Output
    """What is learnt from."""
    draft: Draft
    """Where what comes out is written to."""
    store: Store
    """Where checkpoints are kept."""
    device: torch.device

    @property
    def tokens(self) -> Path | None:
        """Where token ids are kept for an attempt that goes on; one process writes them."""
        return self.draft.path / TOKENS if leads() else None


@dataclass(frozen=True, slots=True)
class Work[M: nn.Module]:
    """What a component trains, and how what comes out of it is written and told."""

    course: Shared
    student: M
    """What is trained and kept."""
    tuner: LoraModel | None
    """The adapters in it, where it has some."""
    fresh: Callable[[], M]
    """Makes the student anew, as it was before training."""
    score: Callable[[M], float]
    """Validates another student as the course does its own."""
    save: Callable[[M, Path], None]
    """Writes a student, which is on the CPU, into a folder."""
    facts: Callable[[Standing], Mapping[str, str]]
    """What only this component reports."""
    measure: str
    """Words before the validation's number, in the summary."""
    unit: str = ""
    """Words behind it."""
    helpers: str = "projections.safetensors"
    """File of what was trained beside the student, where there is something."""


def run[M: nn.Module](context: Context, work_of: Callable[[Opened], Work[M]]) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    prepared = context.workspace.output(Stage.PREPARE)
    fingerprint = fingerprints.train(context.task, prepared.fingerprint)
    if done := context.workspace.find(Stage.TRAIN, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.TRAIN, fingerprint)
    device = runtime.settle(context.task.threads, context.task.gpus)
    opened = Opened(prepared, draft, _store(context, draft), device)
    work = work_of(opened)
    standing, world = _together(context, work.course, opened)
    if not world.first:
        # That one alone writes and tells.
        own = f"process {world.rank} is done"
        return Report(stage=Stage.TRAIN, outcome="Done", summary=own)
    return draft.commit(
        _finish(context, work, opened, standing),
        leave_out=(CHECKPOINTS, TOKENS),
        inputs=prepared.inputs,
    )


def _store(context: Context, draft: Draft) -> Store:
    """Return where checkpoints are kept, so that they survive the pod."""
    return Store(
        draft.path / CHECKPOINTS,
        keep=context.task.spec.training.keep_checkpoints,
        kept=lambda name: draft.keep(f"{CHECKPOINTS}/{name}"),
        dropped=lambda name: draft.drop(f"{CHECKPOINTS}/{name}"),
    )


def _together(context: Context, course: Shared, opened: Opened) -> tuple[Standing, World]:
    """Train a course's student by all of the task's processes; tell which one this was.

    Joined only now: the libraries save a model in the first process alone, and each makes one.
    """
    watch = loop.Watch(
        tell=lambda done, total, metrics: context.progress.tell(done, total, metrics, "train"),
        stop=context.stop.is_set,
    )
    with joined(opened.device) as world:
        strategy = strategies.of(context.task.spec.training.distributed.strategy, world)
        return loop.train(course.shared(strategy), opened.store, watch, strategy), world


def _finish[M: nn.Module](
    context: Context, work: Work[M], opened: Opened, standing: Standing
) -> Report:
    """Merge what was trained beside the student into it, write it, and tell how it went."""
    merged = adapted.merge(
        context.task, work.student, lambda: work.fresh().to(opened.device).eval(), work.score
    )
    kept = merged.model if merged else work.student
    folder = opened.draft.path
    work.save(kept.to(torch.device("cpu")), folder / STUDENT)
    write_curve(folder, standing)
    write_helpers(folder, work.course.helpers, work.helpers)
    adapted.keep(work.tuner, folder)
    return adapted.tell(_report(context, opened.draft, work, standing), work.student, merged)


def write_curve(folder: Path, standing: Standing) -> None:
    """Write the learning curve, a line of JSON for each recorded step."""
    lines = [json.dumps(point) for point in standing.curve]
    (folder / CURVES).write_text("\n".join(lines) + "\n")


def write_helpers(folder: Path, helpers: nn.Module, name: str) -> None:
    """Write what was trained beside the student, where there is something."""
    if weights := {key: value.cpu() for key, value in helpers.state_dict().items()}:
        save_file(weights, folder / name)


def _report[M: nn.Module](
    context: Context, draft: Draft, work: Work[M], standing: Standing
) -> Report:
    """Return the stage's report."""
    training = context.task.spec.training
    score = standing.best_score or 0.0
    facts = {
        "steps": str(standing.step),
        "checkpoints": str(standing.checkpoints),
        "checkpointSteps": str(training.checkpoint_steps),
        "curvePoints": str(len(standing.curve)),
        "bestStep": str(standing.best_step),
        "bestValidation": f"{score:.6f}",
        **work.facts(standing),
    }
    flat = convergence.converged(standing.curve, stopped_early=standing.stopped_early)
    if flat is not None:
        facts["converged"] = str(flat).lower()
    return Report(
        stage=Stage.TRAIN,
        outcome="Done",
        fingerprint=draft.fingerprint,
        summary=_summary(work, standing),
        lineage=fingerprints.lineage(context.task, context.workspace.inputs(Stage.PREPARE)),
        facts=facts,
    )


def _summary[M: nn.Module](work: Work[M], standing: Standing) -> str:
    early = ", stopped early" if standing.stopped_early else ""
    before, score = standing.curve[0]["validation"], standing.best_score or 0.0
    return (
        f"{standing.step} of {work.course.steps} steps{early}; {work.measure} {before:.3f}"
        f"{work.unit} before training, {score:.3f} at step {standing.best_step}, which is kept"
    )
