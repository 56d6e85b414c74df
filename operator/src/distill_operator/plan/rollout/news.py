"""Events of a rollout, told once: transitions, and conditions that turn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from distill_api.names import RolloutReason

from distill_operator.plan import text
from distill_operator.plan.rollout import judgement, phases
from distill_operator.plan.rollout.conditions import Claim, Kind
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.phases import MEASURED, Phase
from distill_operator.statistics import words


@dataclass(frozen=True, slots=True)
class Tidings:
    """A sentence worth a Kubernetes Event."""

    kind: Literal["Normal", "Warning"]
    reason: RolloutReason
    message: str


BAD: Final = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED})
BEGINNING: Final = frozenset({Phase.PENDING, Phase.PREPARING})
WATCHED: Final[Mapping[Kind, str]] = {
    Kind.METRICS: "False",
    Kind.ROUTE: "False",
    Kind.TEACHER: "False",
    Kind.TOKENS: "False",
    Kind.CONFLICT: "True",
    Kind.ROLLBACK_FAILED: "True",
}
"""Conditions whose turning for the worse is told, and the value that is worse."""


def between(
    before: Sequence[Claim], now: Sequence[Claim], decided: Outcome, warned: frozenset[str]
) -> tuple[Tidings, ...]:
    """Return what has happened since the status was written last.

    warned: metrics that were worth a warning by then.
    """
    return (
        *_transition(decided),
        *_fight(decided),
        *_turned(before, now, decided),
        *_warnings(decided, warned),
    )


def _warnings(decided: Outcome, warned: frozenset[str]) -> Iterator[Tidings]:
    found = decided.found if decided.here.phase in MEASURED else ()
    for metric, finding in found:
        if judgement.warns(metric, finding) and metric.name not in warned:
            yield _tidings("Warning", RolloutReason.WARNING, words.explain(finding))


def _transition(decided: Outcome) -> Iterator[Tidings]:
    old, new = decided.here.memory.transition, decided.state.memory.transition
    if new.id == old.id:
        return
    step = f" step {new.step + 1}" if new.after is Phase.PROGRESSING else ""
    weight = f" (student {decided.state.memory.weights.desired / 10:g}%)"
    said = f"{new.after}{step}{weight}: {new.why}"
    yield _tidings("Warning" if new.after in BAD else "Normal", phases.reason(new.signal), said)


def _fight(decided: Outcome) -> Iterator[Tidings]:
    old, new = decided.here.memory.fights, decided.state.memory.fights
    if new <= old or decided.edit is None:
        return
    found = (decided.here.route.share or 0) / 10
    who = decided.writer or "somebody"
    said = (
        f"{who} gave the student {found:g}%: {decided.state.memory.weights.desired / 10:g}% is"
        f" written again ({new} of 3 times, then a person has to decide)"
    )
    yield _tidings("Warning", RolloutReason.WEIGHTS_RESTORED, said)


def _turned(before: Sequence[Claim], now: Sequence[Claim], decided: Outcome) -> Iterator[Tidings]:
    old = {claim.kind: claim.value for claim in before}
    refused = decided.here.refused.route is not None
    for claim in now:
        bad = claim.value == WATCHED.get(claim.kind) and claim.reason is not RolloutReason.LET_GO
        again = claim.kind is Kind.ROLLBACK_FAILED and refused
        # A gateway that is a moment behind is no news, one that never comes is told by deadline.
        passing = claim.reason is RolloutReason.NOT_CARRIED or _not_made_yet(claim.kind, decided)
        if bad and not passing and (again or old.get(claim.kind) != claim.value):
            yield _tidings("Warning", claim.reason, claim.message)


def _not_made_yet(kind: Kind, decided: Outcome) -> bool:
    """Tell whether something is missing only because it is our turn to make it."""
    if decided.state.memory.phase not in BEGINNING:
        return False
    return kind is Kind.TEACHER or (kind is Kind.ROUTE and decided.here.policy.owns_route)


def _tidings(kind: Literal["Normal", "Warning"], reason: RolloutReason, message: str) -> Tidings:
    return Tidings(kind, reason, text.cut(message, text.NOTE))
