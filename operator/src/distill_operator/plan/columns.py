"""The short texts of the printer columns."""

from datetime import timedelta
from typing import Final

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, StageState
from distill_api.outcome import Measure
from distill_api.status import Cost, EvaluationStatus, Score, StageStatus

from distill_operator.plan import cost as costs
from distill_operator.plan import text
from distill_operator.plan.conditions import Standing

PHASES: Final = {
    Standing.GOING: "Running",
    Standing.SUSPENDED: "Suspended",
    Standing.SUCCEEDED: "Succeeded",
    Standing.FAILED: "Failed",
    Standing.INVALID: "Invalid",
}
_WORDS: Final = {
    StageState.PENDING: "waiting",
    StageState.RUNNING: "running",
    StageState.RETRYING: "retrying",
    StageState.SUSPENDED: "suspended",
    StageState.COMPLETE: "complete",
    StageState.SKIPPED: "skipped",
    StageState.FAILED: "failed",
}
_PLAIN: Final = frozenset({Reason.RUNNING, Reason.ACCEPTED, Reason.SUSPENDED, Reason.SUCCEEDED})


def progress(stage: StageStatus | None, reason: Reason) -> str | None:
    """Return how far a stage is: `Train 42% (ETA 3m10s)`, or how it stands and why."""
    if stage is None:
        return None
    if stage.state is StageState.RUNNING and stage.progress is not None:
        return _share(stage)
    why = "" if reason in _PLAIN else f": {reason}"
    return f"{stage.name} {_WORDS[stage.state]}{why}"


def _share(stage: StageStatus) -> str:
    assert stage.progress is not None
    left = stage.progress.remaining_seconds
    eta = "" if left is None else f" (ETA {text.duration(timedelta(seconds=left))})"
    return f"{stage.name} {stage.progress.percent}%{eta}"


def retention(found: EvaluationStatus | None, spec: DistillationJobSpec) -> str | None:
    """Return the retention by the first gate, `97.3%`."""
    score = first_score(found, spec)
    return None if score is None else text.percent(score.retention)


def first_score(found: EvaluationStatus | None, spec: DistillationJobSpec) -> Score | None:
    """Return the score that the first gate is about; nDCG@10 where no gate is named."""
    if found is None or not found.scores:
        return None
    gates = spec.evaluation.gates
    wanted = gates[0].measure if gates else Measure.NDCG_10
    return next((s for s in found.scores if s.measure == wanted), found.scores[0])


def speedup(found: EvaluationStatus | None) -> str | None:
    """Return the student's speed against the teacher's, `3.4x`."""
    return None if found is None else text.times(found.speedup)


def cost(found: Cost | None, spec: DistillationJobSpec) -> str | None:
    """Return what was spent, `0.12 USD`; nothing where nothing has a price."""
    if found is None or not costs.priced(spec.prices):
        return None
    return text.money(float(found.amount), found.currency)
