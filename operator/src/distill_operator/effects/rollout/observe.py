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
from distill_operator.plan.rollout.model import OtherRollout
from distill_operator.plan.rollout.resolve import child
from distill_operator.plan.rollout.rollout import ObservedRollout
from distill_operator.render.order import Owner

type Concerns = Callable[[Manifest, Manifest], bool]
"""Tells whether a rollout (first) depends on an object (second)."""


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
    return uid(rollout) != uid(body) and _same_place(rollout, body) and _same_rule(rollout, body)


CONCERNS: Final[Mapping[Kind, Concerns]] = {
    HTTP_ROUTE: _of_route,
    ENDPOINT_SLICE: _of_slice,
    DISTILLATION_JOB: _of_job,
    DISTILLED_ROLLOUT: _of_rollout,
    # A Gateway carries the routes of many namespaces, and changes seldom.
    GATEWAY: lambda _rollout, _gateway: True,
}
