"""One trial: a training of its own, with a spec of its own, in a folder of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import optuna
from distill_api.names import Stage
from distill_api.wire import Report, Task
from optuna.trial import Trial

from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.progress import Number, Progress
from distill_trainer.storage import Folder
from distill_trainer.sweeping import space, study, table
from distill_trainer.workspace import Workspace

LOOK_SECONDS: Final = 2.0
MEASURE: Final = "validation score"
"""What trials are ranked by, before one of them has told its name."""

type Train = Callable[[Context], Report]

SCORE: Final = "bestValidation"
"""The fact of a train report by which trials are ranked; higher is better."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A trial as a piece of the sweep's work, which one pod claims."""

    number: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.number:04d}"


class Teller(Progress):
    """Passes a trial's progress on as a part of the sweep's, and ends a trial that falls behind."""

    def __init__(self, outer: Progress, known: optuna.Study, trial: Trial, total: int) -> None:
        super().__init__()
        self.outer, self.known, self.trial, self.total = outer, known, trial, total
        self._looked, self._ended, self._running = 0.0, 0, 1
        self._best: float | None = None

    def tell(
        self, done: float, total: float, metrics: Mapping[str, Number] | None = None, what: str = ""
    ) -> None:
        """Tell the share of all trials; raises TrialPruned where the others were better by now."""
        self._look()
        found = dict(metrics or {})
        found |= {"trial": self.trial.number, "runningTrials": self._running}
        if self._best is not None:
            found["bestTrialScore"] = self._best
        share = self._ended + done / max(total, 1)
        self.outer.tell(share, self.total, found, f"trial {self.trial.number} {what}")
        score = found.get("validation")
        if what == "train" and isinstance(score, float) and done < total:
            self._weigh(int(done), score)

    def _look(self) -> None:
        """Look at what became of the other trials, which other pods may train."""
        now = time.monotonic()
        if self._looked and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._ended, self._running = study.counts(self.known)
        leaders = study.ranked(self.known)
        self._best = leaders[0].value if leaders else None
        self.outer.sweep = table.status(self.known, MEASURE)

    def mention(self, metrics: Mapping[str, Number], what: str) -> None:
        """Pass on."""
        self.outer.mention(metrics, what)

    def _weigh(self, step: int, score: float) -> None:
        self.trial.report(score, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def prepared(context: Context, folder: Folder, trial: Trial, progress: Progress) -> Context:
    """Return the context of a trial: its spec, its folder, the job's own earlier stages."""
    task = context.task
    spec = space.applied(task.spec, trial.params)
    outer = context.workspace
    own = Workspace(place(folder, trial.number), outer.job, outer.meter, upstream=outer)
    trial_task: Task = task.model_copy(update={"spec": spec})
    return replace(context, task=trial_task, workspace=own, progress=progress)


def output(context: Context, folder: Folder, number: int) -> Output:
    """Return what a trial left."""
    outer = context.workspace
    own = Workspace(place(folder, number), outer.job, outer.meter, upstream=outer)
    return own.output(Stage.TRAIN)


def place(folder: Folder, number: int) -> Folder:
    """Return the folder of a trial."""
    return folder.child(Numbered(number).name)
