"""The HTTPRoute of a rollout and its Gateways, as they are."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from distill_api import names
from distill_api.rollout import DistilledModelRolloutSpec

from distill_operator.effects import observe
from distill_operator.effects.kinds import GATEWAY, HTTP_ROUTE
from distill_operator.effects.store import Store, owner_uid
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.model import ObservedBackend, ObservedParent, ObservedRoute
from distill_operator.render.order import Owner

OWN_RULE: Final = "model"
"""Name of the one rule of a route that we make."""


def name(owner: Owner, spec: DistilledModelRolloutSpec) -> str:
    """Return the name of the route: the given one, or our own's, which is the rollout's."""
    given = spec.gateway.http_route
    return given.name if given is not None else owner.name


def look(owner: Owner, spec: DistilledModelRolloutSpec, store: Store) -> ObservedRoute | None:
    """Return the route; None where there is none of that name."""
    body = store.named(HTTP_ROUTE, owner.namespace, name(owner, spec))
    if body is None:
        return None
    given = spec.gateway.http_route
    place = _place(body, OWN_RULE if given is None else given.rule)
    meta = body["metadata"]
    return ObservedRoute(
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        resource_version=meta["resourceVersion"],
        owned=belongs(body, owner.uid),
        bound=observe.bound(body, owner.uid),
        rule=place,
        backends=tuple(_backends(body, place)),
        parents=tuple(_parents(body, store)),
        parents_wanted=len(body["spec"].get("parentRefs") or ()),
        weight_writer=writer(body),
        deleting="deletionTimestamp" in meta,
        sticky=place is not None and "sessionPersistence" in body["spec"]["rules"][place],
    )


def belongs(body: Manifest, uid: str) -> bool:
    """Tell whether a rollout has made an object: its label stays where its reference is gone."""
    return owner_uid(HTTP_ROUTE, body) == uid


def _place(body: Manifest, rule: str | None) -> int | None:
    """Return the index of the rule; without a name it is the only one."""
    rules = body["spec"].get("rules") or ()
    if rule is None:
        return 0 if len(rules) == 1 else None
    return next((i for i, entry in enumerate(rules) if entry.get("name") == rule), None)


def _backends(body: Manifest, place: int | None) -> Iterable[ObservedBackend]:
    if place is None:
        return
    for entry in body["spec"]["rules"][place].get("backendRefs") or ():
        yield ObservedBackend(
            name=entry["name"],
            weight=entry.get("weight", 1),
            port=entry.get("port"),
            filters=tuple(entry.get("filters") or ()),
        )


def _parents(body: Manifest, store: Store) -> Iterable[ObservedParent]:
    """Yield what each parent says; those that the spec no longer names say nothing to us."""
    wanted = [_reference(ref, body) for ref in body["spec"].get("parentRefs") or ()]
    for entry in (body.get("status") or {}).get("parents") or ():
        if _reference(entry["parentRef"], body) in wanted:
            yield _parent(entry, body, store)


def _reference(ref: Mapping[str, Any], body: Manifest) -> tuple[object, ...]:
    namespace = ref.get("namespace") or body["metadata"]["namespace"]
    return namespace, ref["name"], ref.get("sectionName"), ref.get("port")


def _parent(entry: Mapping[str, Any], body: Manifest, store: Store) -> ObservedParent:
    found = {c["type"]: c for c in entry.get("conditions") or ()}
    told = [found[kind] for kind in ("Accepted", "ResolvedRefs") if kind in found]
    bad = [c.get("message", "") for c in told if c["status"] != "True"]
    gateway = _gateway(entry["parentRef"], body, store)
    programmed, why = _programmed(gateway)
    return ObservedParent(
        name=entry["parentRef"]["name"],
        accepted=_true(found, "Accepted"),
        resolved=_true(found, "ResolvedRefs"),
        observed_generation=min((c.get("observedGeneration", 0) for c in told), default=0),
        message="; ".join(bad) or why,
        programmed=programmed,
    )


def _true(found: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    return kind in found and found[kind]["status"] == "True"


def _gateway(ref: Mapping[str, Any], body: Manifest, store: Store) -> Manifest | None:
    namespace = ref.get("namespace") or body["metadata"]["namespace"]
    return store.named(GATEWAY, namespace, ref["name"])


def _programmed(gateway: Manifest | None) -> tuple[bool, str]:
    """Return whether a Gateway is programmed, and why not.

    One that is not seen, as it lives in a namespace that is not watched, is judged by what it
    wrote to the route.
    """
    if gateway is None:
        return True, ""
    for entry in (gateway.get("status") or {}).get("conditions") or ():
        if entry["type"] == "Programmed":
            return entry["status"] == "True", str(entry.get("message", ""))
    return False, "its controller has not said so"


def writer(body: Manifest) -> str | None:
    """Return the field manager, other than ours, that wrote the rules last; None: it was us."""
    entries = [
        entry
        for entry in body["metadata"].get("managedFields") or ()
        if "f:rules" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    # Times have whole seconds: of two in the same one, the other's is the one worth telling.
    last = max(entries, key=lambda e: (e.get("time", ""), not _ours(e)), default=None)
    return None if last is None or _ours(last) else str(last.get("manager", ""))


def _ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == names.FIELD_MANAGER
