"""What the measurements say about a rollout as a whole, in the form that movement needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distill_api.rollout_metrics import OnRegression

from distill_operator.plan import text
from distill_operator.plan.rollout.policy import Metric
from distill_operator.statistics import verdict as verdicts
from distill_operator.statistics import words
from distill_operator.statistics.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of all metrics put together."""

    verdict: Verdict = Verdict.NO_DATA
    """Over the metrics that move traffic."""
    sentence: str = "nothing was measured yet"
    """What was found, or what is still needed, with numbers."""
    rollback: str | None = None
    """The finding that takes the student's traffic away."""
    pause: str | None = None
    """The finding that asks a person."""
    fault: str | None = None
    """Both arms fail alike: nothing is learnt about the student until that has passed."""
    missing: str | None = None
    """Why a critical metric has no numbers."""
    fresh: bool = False
    """Every critical metric was read in this pass."""
    eta_seconds: float | None = None
    """Until the last undecided metric is expected to be decided."""


type Found = Sequence[tuple[Metric, Finding]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the measuring itself went in one look."""

    asked: bool
    """False: this look did not measure."""
    measured: frozenset[str] = frozenset()
    """Metrics that have numbers of the student, be they zero: no traffic is no outage."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a metric got none."""


def together(found: Found, reading: Reading) -> Judgement:
    """Put the findings of one look together."""
    moving = [(m, f) for m, f in found if m.moves]
    critical = [f for _, f in moving if f.critical]
    silent = [f for f in critical if reading.asked and f.metric not in reading.measured]
    faults = [f for _, f in moving if f.verdict is Verdict.ENVIRONMENT_FAULT]
    slowest = verdicts.slowest(f for _, f in moving)
    return Judgement(
        verdict=verdicts.combine(f for _, f in moving),
        sentence=_sentence(moving),
        rollback=_first(moving, OnRegression.ROLLBACK),
        pause=_first(moving, OnRegression.PAUSE),
        fault=words.explain(faults[0]) if faults else None,
        missing=_missing(silent[0], reading.problems) if silent else None,
        fresh=reading.asked and not silent,
        eta_seconds=slowest.seconds if slowest else None,
    )


def _missing(silent: Finding, problems: Mapping[str, str]) -> str:
    why = problems.get(silent.metric)
    return words.explain(silent) + (f" The reason: {text.clause(why)}." if why else "")


def _first(found: Found, action: OnRegression) -> str | None:
    """Return the first regression that calls for an action, in words."""
    for metric, finding in found:
        if finding.verdict is Verdict.REGRESSED and metric.on_regression is action:
            return words.explain(finding)
    return None


def warns(metric: Metric, finding: Finding) -> bool:
    """Tell whether a finding is worth a warning that moves no traffic."""
    if finding.verdict is Verdict.REGRESSED:
        return metric.on_regression is OnRegression.WARN
    return finding.warn


def _sentence(found: Found) -> str:
    """Explain the critical findings that hold the rollout up; all of them where none does."""
    critical = [f for _, f in found if f.critical]
    if not critical:
        return "no metric is critical"
    open_ones = [f for f in critical if f.verdict is not Verdict.HEALTHY]
    return " ".join(words.explain(f) for f in open_ones or critical)
