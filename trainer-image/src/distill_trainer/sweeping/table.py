"""A sweep's trials as rows for files, status and report."""

from typing import Any, Final, Literal

import optuna
from distill_api.status import Metric, SweepStatus, SweepTrial
from optuna.trial import FrozenTrial, TrialState

from distill_trainer.sweeping import space, study

LEADERS: Final = 16
STATES: Final[dict[TrialState, Literal["Complete", "Pruned", "Failed"]]] = {
    TrialState.COMPLETE: "Complete",
    TrialState.PRUNED: "Pruned",
    TrialState.FAIL: "Failed",
}


def rows(known: optuna.Study) -> list[dict[str, Any]]:
    """Return every trial with its parameters, its score, and the validations on the way."""
    return [
        {
            "number": trial.number,
            "state": STATES[trial.state],
            "parameters": trial.params,
            "score": _score(trial),
            "course": {str(step): value for step, value in trial.intermediate_values.items()},
            "why": trial.user_attrs.get("why"),
        }
        for trial in known.get_trials()
        if trial.state in STATES
    ]


def status(known: optuna.Study, measure: str) -> SweepStatus:
    """Return what the job's status says of the sweep."""
    ended = [trial for trial in known.get_trials() if trial.state in STATES]
    leaders = study.ranked(known)
    others = sorted(
        (trial for trial in ended if trial.state is TrialState.PRUNED),
        key=lambda trial: -(_score(trial) or 0.0),
    )
    return SweepStatus(
        measure=measure,
        trials=sum(study.counts(known)),
        pruned=len(others),
        failed=sum(trial.state is TrialState.FAIL for trial in ended),
        running=study.counts(known)[1],
        best=leaders[0].number if leaders else None,
        leaders=[_entry(trial) for trial in [*leaders, *others][:LEADERS]],
    )


def _entry(trial: FrozenTrial) -> SweepTrial:
    score = _score(trial)
    return SweepTrial(
        number=trial.number,
        state=STATES[trial.state],
        parameters=[
            Metric(name=path.rpartition(".")[2][:64], value=space.told(value)[:64])
            for path, value in sorted(trial.params.items())
        ],
        score=None if score is None else f"{score:.4f}",
    )


def _score(trial: FrozenTrial) -> float | None:
    """Return the best validation, also of a trial that was ended half-way."""
    seen: list[float] = list(trial.intermediate_values.values())
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        seen.append(trial.value)
    return max(seen, default=None)
