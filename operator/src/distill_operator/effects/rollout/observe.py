"""From the API server's JSON to a frozen rollout, and who a change of something else concerns."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_status import RolloutStatus

from distill_operator.effects import observe
from distill_operator.effects.kinds import (
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    ENDPOINT_SLICE,
    GATEWAY,
    HTTP_ROUTE,
    Kind,
)
from distill_operator.effects.rollout import arms, route
from distill_operator.effects.store import Store, uid
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.model import OtherRollout, PreviousStudent
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.resolve import child
from distill_operator.plan.rollout.rollout import ObservedRollout
from distill_operator.render.order import Owner

type Concerns = Callable[[Manifest, Manifest], bool]
"""Tells whether a rollout (first) depends on an object (second)."""
type Previous = Mapping[str, PreviousStudent]
PROMOTED: Final = (Phase.PROMOTED, Phase.COMPLETED)
"""Phases of a rollout whose student serves all users."""


def rollout(body: Manifest) -> ObservedRollout:
    """Return the rollout; a spec or status that cannot be read is said to be so."""
    return observe.ours(DistilledModelRolloutSpec, RolloutStatus, body)


def owner(body: Manifest) -> Owner:
    """Return who the children of a rollout belong to."""
    meta = body["metadata"]
    return Owner(meta["namespace"], meta["name"], meta["uid"])


def others(body: Manifest, store: Store) -> tuple[OtherRollout, ...]:
    """Return the other rollouts that name the same rule of the same route."""
    return tuple(
        OtherRollout(
            name=other["metadata"]["name"],
            created=datetime.fromisoformat(other["metadata"]["creationTimestamp"]),
            uid=uid(other),
        )
        for other in store.all(DISTILLED_ROLLOUT)
        if uid(other) != uid(body) and _same_place(body, other) and _same_rule(body, other)
    )


def previous(spec: DistilledModelRolloutSpec, body: Manifest, store: Store) -> Previous:
    """Return the students of the rollouts that quality is compared with; never the rollout's own.

    One whose spec or status cannot be read has no scores.
    """
    own, found = body["metadata"], {}
    for name in _compared(spec) - {own["name"]}:
        other = store.named(DISTILLED_ROLLOUT, own["namespace"], name)
        if other is not None:
            found[name] = _student(rollout(other))
    return found


def _compared(spec: DistilledModelRolloutSpec) -> set[str]:
    asked = (metric.quality.previous_ref for metric in spec.metrics if metric.quality)
    return {named.name for named in asked if named is not None}


def _student(other: ObservedRollout) -> PreviousStudent:
    """Return the student of a rollout; a score belongs to the measure of the metric's name."""
    wanted = other.spec.metrics if other.spec is not None else ()
    measures = {m.name: m.quality.measure.value for m in wanted if m.quality}
    return PreviousStudent(
        promoted=other.status.phase in PROMOTED,
        scores={
            measures[found.name]: float(found.student.score)
            for found in other.status.metrics
            if found.name in measures and found.student and found.student.score is not None
        },
    )


def _same_place(one: Manifest, other: Manifest) -> bool:
    return bool(one["metadata"]["namespace"] == other["metadata"]["namespace"])


def _same_rule(one: Manifest, other: Manifest) -> bool:
    (name, rule), (other_name, other_rule) = _rule(one), _rule(other)
    # Without a name it is the route's only rule, and so any that another one names.
    return name == other_name and (None in (rule, other_rule) or rule == other_rule)


def _rule(body: Manifest) -> tuple[str, str | None]:
    """Return route and rule, as written: a spec that cannot be read still has its claim."""
    given = _member(body, "gateway", "httpRoute")
    name = given.get("name") or body["metadata"]["name"]
    return str(name), given.get("rule") if given else route.OWN_RULE


def _member(body: Manifest, *path: str) -> Mapping[str, Any]:
    """Return a member of the spec as written; empty where it is not there."""
    found: Any = body.get("spec") or {}
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def concerned(kind: Kind, body: Manifest, store: Store) -> Iterator[str]:
    """Yield the uids of the rollouts that depend on an object which belongs to none of them."""
    concerns = CONCERNS.get(kind)
    if concerns is None:
        return
    for found in store.all(DISTILLED_ROLLOUT):
        if concerns(found, body):
            yield uid(found)


def _of_route(rollout: Manifest, body: Manifest) -> bool:
    return _same_place(rollout, body) and _rule(rollout)[0] == body["metadata"]["name"]


def _of_slice(rollout: Manifest, body: Manifest) -> bool:
    return _same_place(rollout, body) and arms.of_service(body) in _services(rollout)


def _services(rollout: Manifest) -> set[str]:
    made = owner(rollout)
    return {
        _member(rollout, arm, "service").get("name") or child(made, arm)
        for arm in ("teacher", "student")
    }


def _of_job(rollout: Manifest, body: Manifest) -> bool:
    named = _member(rollout, "artifact", "jobRef").get("name")
    return _same_place(rollout, body) and named == body["metadata"]["name"]


def _of_rollout(rollout: Manifest, body: Manifest) -> bool:
    if uid(rollout) == uid(body) or not _same_place(rollout, body):
        return False
    return _same_rule(rollout, body) or body["metadata"]["name"] in _named(rollout)


def _named(rollout: Manifest) -> Iterator[str]:
    """Yield the rollouts that quality is compared with, as written."""
    for metric in (rollout.get("spec") or {}).get("metrics") or ():
        found = (metric.get("quality") or {}).get("previousRef")
        if found:
            yield found["name"]


CONCERNS: Final[Mapping[Kind, Concerns]] = {
    HTTP_ROUTE: _of_route,
    ENDPOINT_SLICE: _of_slice,
    DISTILLATION_JOB: _of_job,
    DISTILLED_ROLLOUT: _of_rollout,
    # A Gateway carries the routes of many namespaces, and changes seldom.
    GATEWAY: lambda _rollout, _gateway: True,
}
