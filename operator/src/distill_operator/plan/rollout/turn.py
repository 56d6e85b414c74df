"""One turn of a rollout whose spec is resolved: decision, children, route, news, next look."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from distill_api.names import ROLLOUT_FINALIZER, RolloutConditionType, RolloutReason

from distill_operator.plan.rollout import (
    again,
    baselines,
    children,
    conditions,
    course,
    deletion,
    news,
)
from distill_operator.plan.rollout.children import Children
from distill_operator.plan.rollout.conditions import Claim
from distill_operator.plan.rollout.course import Look, Outcome, State
from distill_operator.plan.rollout.model import Arm, Settings, Sights
from distill_operator.plan.rollout.news import Tidings
from distill_operator.plan.rollout.targets import UNTOUCHED
from distill_operator.plan.rollout.wanted import Wanted, revision


@dataclass(frozen=True, slots=True)
class Subject:
    """The rollout itself."""

    uid: str
    generation: int
    created: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    wanted: Wanted
    state: State = field(default_factory=State)
    """As status has it; a status that cannot be read counts as empty."""
    claims: tuple[Claim, ...] = ()
    """The conditions of status."""
    warned: frozenset[str] = frozenset()
    """Metrics that status has a warning about."""


@dataclass(frozen=True, slots=True)
class Scene(Sights):
    """Everything that was seen in one pass."""

    rollout: Subject


@dataclass(frozen=True, slots=True)
class Turn:
    """What one pass decided."""

    decided: Outcome
    write: bool
    """False: this pass decided nothing, and its numbers can wait."""
    claims: tuple[Claim, ...]
    children: Children
    news: tuple[Tidings, ...] = ()
    finalizers: tuple[str, ...] = ()
    look_again: timedelta | None = None


def take(seen: Scene, settings: Settings, *, now: datetime) -> Turn:
    """Decide one pass. Pure and total: the same scene gives the same turn."""
    old, wanted = seen.rollout, seen.rollout.wanted
    decided = course.go(old.state, wanted.policy, _look(seen, wanted), settings, now=now)
    now = now.replace(microsecond=0)
    said = conditions.of(decided)
    if not seen.refused.known:
        said = conditions.carried(said, old.claims, RolloutConditionType.CHILDREN)
    if not seen.tokens.known:
        said = conditions.carried(said, old.claims, RolloutConditionType.TOKENS)
    writes = again.write(old.state, decided, (old.claims, said), settings, now=now)
    told = news.between(old.claims, said, decided, old.warned) if writes else ()
    leaving = deletion.of(decided, seen, wanted, settings, now=now)
    return Turn(
        decided=decided,
        write=writes,
        claims=said,
        children=children.of(decided, wanted, leaving.orphaned, now=now),
        news=(*told, *_farewell(seen, leaving.released)),
        finalizers=_finalizers(decided, leaving.released),
        look_again=again.look(decided, settings, now=now),
    )


def _look(seen: Scene, wanted: Wanted) -> Look:
    known = seen.artifact.problem is None or Arm.STUDENT not in wanted.runs
    return Look(
        route=seen.route,
        backends=wanted.backends,
        arms={Arm.TEACHER: seen.teacher, Arm.STUDENT: seen.student},
        revisions={arm: revision(wanted.order(arm)) for arm in Arm},
        metrics=baselines.compared(seen.metrics, wanted.policy),
        tokens=seen.tokens,
        artifact=seen.artifact,
        revision=wanted.revision if known else None,
        generation=seen.rollout.generation,
        deleting=seen.rollout.deleting,
        rival=_rival(seen),
        refused=seen.refused,
        unroutable=seen.unroutable,
    )


def _rival(seen: Scene) -> str | None:
    """Return an older rollout on the same rule; of equal age the one with the smaller uid."""
    mine = (seen.rollout.created, seen.rollout.uid)
    older = [other for other in seen.others if (other.created, other.uid) < mine]
    return min(older, key=lambda other: (other.created, other.uid)).name if older else None


def _farewell(seen: Scene, gone: str | None) -> tuple[Tidings, ...]:
    """Return how a deleted rollout goes: told once, with the finalizer that it lets go."""
    if gone is None or ROLLOUT_FINALIZER not in seen.rollout.finalizers:
        return ()
    bad = gone.startswith(deletion.GAVE_UP)
    return (Tidings("Warning" if bad else "Normal", RolloutReason.DELETED, gone),)


def _finalizers(decided: Outcome, gone: str | None) -> tuple[str, ...]:
    untouched = decided.state.memory.phase in UNTOUCHED
    return () if untouched or gone is not None else (ROLLOUT_FINALIZER,)
