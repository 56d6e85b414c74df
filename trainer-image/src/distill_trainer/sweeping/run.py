"""Runs a sweep as the train stage: trial after trial, then the best one becomes the output."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import optuna
import torch
from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from optuna.trial import FrozenTrial, Trial, TrialState

from distill_trainer import errors, fingerprints
from distill_trainer.artifacts import MANIFEST, Output
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling.claims import Claims
from distill_trainer.report import sweep_section
from distill_trainer.sweeping import space, study, table, trials
from distill_trainer.sweeping.trials import MEASURE, SCORE, Numbered, Teller, Train
from distill_trainer.workspace import Draft

TRIALS: Final = "trials"
WHY: Final = "why"
"""User attribute of a failed trial: what it failed with."""
WAIT_SECONDS: Final = 2.0

REMOVAL_SECONDS: Final = 5.0
"""Longest that the removal of the trials' folder takes."""

log = logging.getLogger(__name__)


def run(context: Context, train: Train) -> Report:
    """Train the students of a sweep; an interrupted trial goes on from its checkpoint."""
    task = context.task
    assert task.spec.sweep is not None
    before = context.workspace.output(Stage.PREPARE)
    fingerprint = fingerprints.train(task, before.fingerprint)
    if done := context.workspace.find(Stage.TRAIN, fingerprint):
        return done.reused()
    drawn = space.distributions(task.spec)
    draft = context.workspace.draft(Stage.TRAIN, fingerprint)
    known = study.opened(draft.path / TRIALS, task.spec.sweep)
    if context.pod > 0:
        with _until_removed(draft.path / TRIALS):
            _work(context, draft, known, drawn, train)
        return Report(stage=Stage.TRAIN, outcome="Done", share=True, summary="no trial is left")
    _work(context, draft, known, drawn, train)
    return _finish(context, draft, known, before)


@contextlib.contextmanager
def _until_removed(folder: Path) -> Iterator[None]:
    """Take it for the end where the first pod removes the trials while this one looks for more.

    Files are missing then, and optuna says that its lock, a file as well, is not held.
    """
    try:
        yield
    except (FileNotFoundError, RuntimeError):
        ends = time.monotonic() + REMOVAL_SECONDS
        while (folder / study.JOURNAL).exists():
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def _work(
    context: Context, draft: Draft, known: optuna.Study, drawn: study.Space, train: Train
) -> None:
    """Train trials until none is left, beside other pods; the first pod stays to their end."""
    sweep, folder = context.task.spec.sweep, draft.folder.child(TRIALS)
    assert sweep is not None
    pods = min(sweep.parallel_trials, sweep.max_trials)
    own = Claims.of_pod(folder, draft.workspace.job, pods, context.pod)
    seed = context.task.spec.training.seed

    def free(number: int) -> bool:
        return own.take(Numbered(number), time.time())

    while True:
        with study.turn(folder.path):
            trial = study.following(known, drawn, sweep, seed=seed, free=free)
        if trial is not None:
            draft.keep(f"{TRIALS}/{study.JOURNAL}")
            with own.held(Numbered(trial.number)):
                _try(context, draft, known, trial, train)
            draft.keep(f"{TRIALS}/{study.JOURNAL}")
        elif context.pod > 0 or not study.counts(known)[1]:
            return
        else:
            _wait(context, known, sweep.max_trials)


def _wait(context: Context, known: optuna.Study, total: int) -> None:
    """Let the other pods finish their trials."""
    context.check_stop()
    context.progress.sweep = table.status(known, MEASURE)
    ended, running = study.counts(known)
    context.progress.tell(ended, total, {"runningTrials": running}, "trials of other pods")
    time.sleep(WAIT_SECONDS)


def settled(context: Context) -> Context:
    """Return the context with the spec that the student of the train stage was trained with."""
    if context.task.spec.sweep is None:
        return context
    trained = context.workspace.output(Stage.TRAIN)
    told = json.loads((trained.path / sweep_section.FILE).read_text())
    spec = DistillationJobSpec.model_validate(told["spec"])
    return replace(context, task=context.task.model_copy(update={"spec": spec}))


def _try(context: Context, draft: Draft, known: optuna.Study, trial: Trial, train: Train) -> None:
    """Train one student; what cannot be trained counts as failed, and the others go on."""
    sweep = context.task.spec.sweep
    assert sweep is not None
    teller = Teller(context.progress, known, trial, sweep.max_trials)
    folder = draft.folder.child(TRIALS)
    try:
        report = train(trials.prepared(context, folder, trial, teller))
    except optuna.TrialPruned:
        known.tell(trial, state=TrialState.PRUNED)
        log.info("trial %d was behind the median and was ended", trial.number)
    except (BadInput, torch.OutOfMemoryError) as error:
        # Another trial may take a smaller batch, or adapters of a lower rank.
        why = errors.failure(error)[0].message
        trial.set_user_attr(WHY, why)
        known.tell(trial, state=TrialState.FAIL)
        log.warning("trial %d failed: %s", trial.number, why)
    else:
        known.tell(trial, float(report.facts[SCORE]))


def _finish(context: Context, draft: Draft, known: optuna.Study, before: Output) -> Report:
    best = _best(known)
    winner = trials.output(context, draft.folder.child(TRIALS), best.number)
    for entry in winner.manifest.files:
        target = draft.path / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(winner.path / entry.path, target)
    _write(context, draft.path, known, best)
    report = _report(draft, known, winner)
    return draft.commit(report, leave_out=(TRIALS, MANIFEST), inputs=before.inputs)


def _best(known: optuna.Study) -> FrozenTrial:
    leaders = study.ranked(known)
    if leaders:
        return leaders[0]
    reasons = [t.user_attrs[WHY] for t in known.get_trials() if WHY in t.user_attrs]
    raise BadInput(
        Reason.BAD_RECIPE,
        f"none of the {len(known.get_trials())} trials of spec.sweep could be trained. The first"
        f" said: {reasons[0] if reasons else 'nothing'}",
    )


def _write(context: Context, folder: Path, known: optuna.Study, best: FrozenTrial) -> None:
    spec = space.applied(context.task.spec, best.params)
    content: dict[str, Any] = {
        "best": best.number,
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "trials": table.rows(known),
    }
    (folder / sweep_section.FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False))


def _report(draft: Draft, known: optuna.Study, winner: Output) -> Report:
    told = winner.manifest.report
    found = table.status(known, told.facts.get("validationMeasure", "validation score"))
    leader = found.leaders[0]
    chosen = ", ".join(f"{one.name} {one.value}" for one in leader.parameters)
    summary = (
        f"Trial {found.best} of {found.trials} ({found.pruned} pruned, {found.failed} failed) with"
        f" {chosen}: {told.summary}"
    )
    return told.model_copy(
        update={
            "stage": Stage.TRAIN,
            "fingerprint": draft.fingerprint,
            "summary": summary[:400],
            "sweep": found,
            "facts": {**told.facts, "trials": str(found.trials)},
        }
    )
