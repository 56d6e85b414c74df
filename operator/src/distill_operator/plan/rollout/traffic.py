"""The route: whether it carries what was decided, who else writes it, and how it is moved."""

from collections.abc import Iterator
from dataclasses import dataclass

from distill_api.names import VARIANT_HEADER

from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.memory import Weights
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    ObservedBackend,
    ObservedRoute,
    RouteEdit,
)
from distill_operator.render.rollout import route as rendering


@dataclass(frozen=True, slots=True)
class Backends:
    """The names of the two Services whose weights are ours."""

    teacher: str
    student: str

    def of(self, arm: Arm) -> str:
        """Return the Service of an arm."""
        return self.student if arm is Arm.STUDENT else self.teacher


@dataclass(frozen=True, slots=True)
class RouteSight:
    """What the route shows."""

    share: int | None = None
    """The student's weight per mille as written; None where our rule or backends are missing."""
    missing: str | None = None
    """What is not there, as a sentence."""
    unready: str | None = None
    """Why a parent does not carry this generation of the route yet, as a sentence."""
    labelled: bool = False
    """Both backends carry the header filter."""
    reached: frozenset[Arm] = frozenset()
    """Arms that anything is written to go to, whatever else is missing."""
    named: frozenset[Arm] = frozenset()
    """Arms that our rule names, if only with a weight of 0."""
    sticky: str | None = None
    """That sessions stay with a backend whatever its weight, as a sentence."""

    @property
    def carried(self) -> bool:
        """Whether every gateway took over what is written."""
        return self.missing is None and self.unready is None


def look(route: ObservedRoute | None, backends: Backends, *, owns: bool) -> RouteSight:
    """Return what the route shows, without a judgement of what it should.

    owns: the route has to be one that we made; another one of its name is left alone.
    """
    if owns and route is not None and not route.owned:
        return RouteSight(missing=_taken(route))
    missing = _missing(route, backends)
    reached, named = _arms(route, backends, 1), _arms(route, backends, 0)
    if missing is not None or route is None:
        return RouteSight(missing=missing, reached=reached, named=named)
    return RouteSight(
        share=_share(route, backends),
        unready=_unready(route),
        labelled=all(_labelled(found[1], arm) for found, arm in _with_arms(route, backends)),
        reached=reached,
        named=named,
        sticky=_sticky(route) if route.sticky else None,
    )


def _sticky(route: ObservedRoute) -> str:
    return (
        f"the rule of HTTPRoute {route.name} has sessionPersistence: a rollback would not reach the"
        " sessions that began with the student. Remove it"
    )


def _share(route: ObservedRoute, backends: Backends) -> int:
    """Return the student's part of the weights, per mille; nothing at all is none for it."""
    weights = {arm: backend.weight for (_, backend), arm in _with_arms(route, backends)}
    total = sum(weights.values())
    return round(weights[Arm.STUDENT] * WHOLE / total) if total else 0


def _taken(route: ObservedRoute) -> str:
    return (
        f"HTTPRoute {route.name} exists already and does not belong to this rollout: name it in"
        " spec.gateway.httpRoute, or delete it"
    )


def _arms(route: ObservedRoute | None, backends: Backends, least: int) -> frozenset[Arm]:
    """Return the arms whose Service our rule gives at least that weight."""
    given = () if route is None else route.backends
    found = {backend.name for backend in given if backend.weight >= least}
    return frozenset(arm for arm in Arm if backends.of(arm) in found)


def _missing(route: ObservedRoute | None, backends: Backends) -> str | None:
    if route is None or route.deleting:
        return "There is no HTTPRoute of that name"
    if route.rule is None:
        return f"HTTPRoute {route.name} has no rule of that name"
    names = [backend.name for backend in route.backends]
    for arm in Arm:
        count = names.count(backends.of(arm))
        if count != 1:
            which = "no" if count == 0 else f"{count} times a"
            return f"HTTPRoute {route.name} has {which} backendRef {backends.of(arm)} ({arm})"
    others = sorted(set(names) - {backends.teacher, backends.student})
    if others:
        return f"HTTPRoute {route.name} also sends to {', '.join(others)} in our rule"
    return None


def _unready(route: ObservedRoute) -> str | None:
    if len(route.parents) < route.parents_wanted:
        return f"{len(route.parents)} of {route.parents_wanted} gateways have taken the route"
    for parent in route.parents:
        if not parent.programmed:
            return f"Gateway {parent.name} is not programmed: {parent.message}"
        if parent.observed_generation < route.generation:
            return f"Gateway {parent.name} has not seen the latest change yet"
        if not parent.accepted:
            return f"Gateway {parent.name} does not accept the route: {parent.message}"
        if not parent.resolved:
            return f"Gateway {parent.name} cannot resolve the backends: {parent.message}"
    return None


def foreign(sight: RouteSight, weights: Weights) -> bool:
    """Tell whether somebody else wrote the weights.

    What was there before our last decision is not foreign until that decision was seen on the
    route: the operator may have died between writing status and writing the route.
    """
    if sight.share is None or sight.share == weights.desired:
        return False
    return weights.confirmed or sight.share != weights.previous


def edit(
    route: ObservedRoute | None, backends: Backends, desired: int, *, owns: bool
) -> RouteEdit | None:
    """Return the patch that gives the student its share; None where there is nothing to write.

    owns: whether filters may be added; on a route that is not ours only two weights are.
    """
    if route is None or (owns and not route.owned) or _missing(route, backends) is not None:
        return None
    changes = [*_weights(route, backends, desired), *(_filters(route, backends) if owns else ())]
    if not changes:
        return None
    sentence = f"{desired / 10:g}% of {route.name} to {backends.student}"
    return RouteEdit(route.name, (*_tests(route, backends), *changes), sentence)


def _tests(route: ObservedRoute, backends: Backends) -> Iterator[Manifest]:
    """Yield what must still hold: the object as it was read, and our backends in their places."""
    yield {
        "op": "test",
        "path": "/metadata/resourceVersion",
        "value": route.resource_version,
    }
    for (index, backend), _ in _with_arms(route, backends):
        yield {"op": "test", "path": f"{_path(route, index)}/name", "value": backend.name}


def _weights(route: ObservedRoute, backends: Backends, desired: int) -> Iterator[Manifest]:
    found = [backend.weight for (_, backend), _ in _with_arms(route, backends)]
    # 19 to 1 is as good as 950 to 50: who wrote it so is not overwritten.
    if sum(found) > 0 and _share(route, backends) == desired:
        return
    wanted = {Arm.STUDENT: desired, Arm.TEACHER: WHOLE - desired}
    for (index, _), arm in _with_arms(route, backends):
        # `add` also replaces, and a weight that was left out is not there to be replaced.
        yield {"op": "add", "path": f"{_path(route, index)}/weight", "value": wanted[arm]}


def _filters(route: ObservedRoute, backends: Backends) -> Iterator[Manifest]:
    for (index, backend), arm in _with_arms(route, backends):
        if not _labelled(backend, arm):
            kept = [f for f in backend.filters if f.get("type") != "RequestHeaderModifier"]
            value = [*kept, rendering.label(arm.value)]
            yield {"op": "add", "path": f"{_path(route, index)}/filters", "value": value}


def _labelled(backend: ObservedBackend, arm: Arm) -> bool:
    return any(
        header.get("name") == VARIANT_HEADER and header.get("value") == arm.value
        for entry in backend.filters
        for header in (entry.get("requestHeaderModifier") or {}).get("set") or ()
    )


def _path(route: ObservedRoute, backend: int) -> str:
    return f"/spec/rules/{route.rule}/backendRefs/{backend}"


def _with_arms(
    route: ObservedRoute, backends: Backends
) -> Iterator[tuple[tuple[int, ObservedBackend], Arm]]:
    for arm in Arm:
        found = _find(route, backends.of(arm))
        if found is not None:
            yield found, arm


def _find(route: ObservedRoute, name: str) -> tuple[int, ObservedBackend] | None:
    """Return a backend with its place in the rule; the order is never changed."""
    return next(((i, b) for i, b in enumerate(route.backends) if b.name == name), None)
