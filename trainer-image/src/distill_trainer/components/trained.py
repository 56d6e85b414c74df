"""What the train stage of every component does alike: checkpoints, progress, curve and facts."""

import json
from pathlib import Path
from typing import Final

import torch
from distill_api.names import Stage
from distill_api.wire import Report, Task
from safetensors.torch import save_file
from torch import nn

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.distributed import strategies
from distill_trainer.distributed.world import World, joined
from distill_trainer.training import convergence, loop
from distill_trainer.training.checkpoints import Standing, Store
from distill_trainer.training.course import Shared
from distill_trainer.workspace import Draft

CHECKPOINTS: Final = "checkpoints"
STUDENT: Final = "student"
CURVES: Final = "curves.jsonl"


def store(draft: Draft, task: Task) -> Store:
    """Return where checkpoints are kept, so that they survive the pod."""
    return Store(
        draft.path / CHECKPOINTS,
        keep=task.spec.training.keep_checkpoints,
        kept=lambda name: draft.keep(f"{CHECKPOINTS}/{name}"),
        dropped=lambda name: draft.drop(f"{CHECKPOINTS}/{name}"),
    )


def watch(context: Context) -> loop.Watch:
    """Return how the loop tells its progress and hears that the pod has to go."""
    return loop.Watch(
        tell=lambda done, total, metrics: context.progress.tell(done, total, metrics, "train"),
        stop=context.stop.is_set,
    )


def together(
    context: Context, course: Shared, store: Store, device: torch.device
) -> tuple[Standing, World]:
    """Train a course's student by all of the task's processes; tell which one this was.

    Joined only now: the libraries save a model in the first process alone, and each makes one.
    """
    with joined(device) as world:
        strategy = strategies.of(context.task.spec.training.distributed.strategy, world)
        return loop.train(course.shared(strategy), store, watch(context), strategy), world


def one_of(world: World) -> Report:
    """Return the report of a process that is not the first: that one writes and tells."""
    return Report(stage=Stage.TRAIN, outcome="Done", summary=f"process {world.rank} is done")


def write_curve(folder: Path, standing: Standing) -> None:
    """Write the learning curve, a line of JSON for each recorded step."""
    lines = [json.dumps(point) for point in standing.curve]
    (folder / CURVES).write_text("\n".join(lines) + "\n")


def write_helpers(folder: Path, helpers: nn.Module, name: str) -> None:
    """Write what was trained beside the student, where there is something."""
    if weights := {key: value.cpu() for key, value in helpers.state_dict().items()}:
        save_file(weights, folder / name)


def report(
    context: Context, draft: Draft, standing: Standing, found: str, own: dict[str, str]
) -> Report:
    """Return the stage's report.

    found: the summary. own: facts of the component.
    """
    training = context.task.spec.training
    score = standing.best_score or 0.0
    flat = convergence.converged(standing.curve, stopped_early=standing.stopped_early)
    facts = {
        "steps": str(standing.step),
        "checkpoints": str(standing.checkpoints),
        "checkpointSteps": str(training.checkpoint_steps),
        "curvePoints": str(len(standing.curve)),
        "bestStep": str(standing.best_step),
        "bestValidation": f"{score:.6f}",
        **own,
    }
    if flat is not None:
        facts["converged"] = str(flat).lower()
    return Report(
        stage=Stage.TRAIN,
        outcome="Done",
        fingerprint=draft.fingerprint,
        summary=found,
        lineage=fingerprints.lineage(context.task, context.workspace.inputs(Stage.PREPARE)),
        facts=facts,
    )


def steps(standing: Standing, planned: int) -> str:
    """Say how many steps were done."""
    early = ", stopped early" if standing.stopped_early else ""
    return f"{standing.step} of {planned} steps{early}"
