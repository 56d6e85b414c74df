"""From the plan of a rollout to the API server: what is decided is written before it is done."""

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from distill_api.names import Reason

from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import (
    DEPLOYMENT,
    DISTILLED_ROLLOUT,
    HTTP_ROUTE,
    MADE_BY_ROLLOUT,
)
from distill_operator.effects.ours import Hand, Key, Remember, Whole, key, require_alike
from distill_operator.plan.model import Manifest, News, RefusedChild
from distill_operator.plan.rollout.model import Refusals, RouteEdit
from distill_operator.plan.rollout.rollout import ObservedRollout, Plan

log = logging.getLogger(__name__)

type Act = Callable[[Subject, Manifest], Awaitable[None]]

NO_VOLUME: Final = "must specify a volume type"
"""What the API server says where it drops an image volume, as its feature gate is off."""
STOPS: Final = (errors.Conflict, errors.NotLeading)
"""What ends a pass at once: it was planned from something that holds no more."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a plan was made for, as it was seen."""

    body: Manifest
    rollout: ObservedRollout
    children: dict[Key, Manifest]
    """Deployments, Services and routes that carry the rollout's label."""

    @property
    def whole(self) -> Whole:
        """The rollout as an object of ours."""
        return Whole.of(DISTILLED_ROLLOUT, self.body)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied last to an object, and the version that came out of it."""

    digest: str
    version: str


@dataclass(slots=True)
class Done:
    """What came of a pass so far."""

    refused: list[RefusedChild] = field(default_factory=list)
    route: str | None = None
    late: list[errors.DistillationError] = field(default_factory=list)
    """What may work next time; it must not keep the route from being moved."""


class RolloutConverger:
    """Makes the cluster match plans; safe to break off at any point and to repeat."""

    def __init__(self, cluster: Cluster, remember: Remember, *, reporter: str) -> None:
        self._cluster = cluster
        self._remember = remember
        self._hand = Hand(cluster, remember, reporter=reporter)
        self._applied: dict[str, dict[str, Applied]] = {}
        """By the uid of the rollout, and of the child."""

    async def converge(self, seen: Subject, plan: Plan, now: datetime) -> Refusals:
        """Act; return what the API server would not take.

        Finalizers first, then the status, and only over what was read: a decision that is not
        written yet must have no effect. Then children, then the route, then what it all means as
        events, and last the finalizers that go. Raises what may work next time, at the end.
        """
        body = await self._hand.hold(seen.whole, seen.body, plan.finalizers)
        body = await self._hand.report(seen.whole, body, seen.rollout.status, plan.status)
        done = Done()
        try:
            await self._family(seen, plan, done)
            await self._move(seen, plan.edit, done)
        finally:
            # The status has the decision, so no later pass would tell it.
            await self._hand.tell(seen.whole, plan.news, now)
        if done.late:
            raise done.late[0]
        await self._hand.let_go(seen.whole, body, plan.finalizers)
        return Refusals(tuple(done.refused), done.route)

    async def _family(self, seen: Subject, plan: Plan, done: Done) -> None:
        for child in _unwanted(seen, plan):
            await self._tried(child, self._delete, seen, done)
        for child in plan.children.made:
            if key(child) not in seen.children:
                await self._tried(child, self._make, seen, done)
        for child in plan.children.applied:
            await self._tried(child, self._apply, seen, done)
        for child in _orphans(seen, plan):
            await self._tried(child, self._let_outlive, seen, done)

    async def _tried(self, child: Manifest, act: Act, seen: Subject, done: Done) -> None:
        """Do something to a child; what goes wrong with it does not stop the others."""
        try:
            await act(seen, child)
        except STOPS:
            raise
        except errors.Refused as error:
            done.refused.append(RefusedChild(*key(child), _sentence(child, error)))
        except errors.NotYet as error:
            done.late.append(error)

    async def _delete(self, seen: Subject, child: Manifest) -> None:
        log.info("delete", extra=seen.whole.about(child=child))
        await self._cluster.delete(MADE_BY_ROLLOUT[child["kind"]], child)

    async def _make(self, seen: Subject, child: Manifest) -> None:
        kind = MADE_BY_ROLLOUT[child["kind"]]
        self._remember(kind, await self._hand.create_or_find(seen.whole, kind, child))

    async def _apply(self, seen: Subject, child: Manifest) -> None:
        """Apply a child that is missing, was changed by us, or by somebody else since."""
        kind = MADE_BY_ROLLOUT[child["kind"]]
        found = seen.children.get(key(child)) or await self._unseen(seen, child)
        if found is not None:
            require_alike(seen.whole, child, found)
        wanted, known = _digest(child), self._applied.setdefault(seen.rollout.uid, {})
        if found is not None:
            last = known.get(found["metadata"]["uid"])
            if last == Applied(wanted, _version(found)):
                return
        answer = await self._cluster.apply(kind, child)
        if found is None:
            log.info("create", extra=seen.whole.about(child=answer))
        known[answer["metadata"]["uid"]] = Applied(wanted, _version(answer))
        self._remember(kind, answer)

    async def _let_outlive(self, seen: Subject, child: Manifest) -> None:
        """Take our owner reference away, guarded: the garbage collector then leaves it alone.

        The label stays, by which the next pass still knows it.
        """
        meta, kind = child["metadata"], MADE_BY_ROLLOUT[child["kind"]]
        owners = [ref for ref in meta["ownerReferences"] if ref["uid"] != seen.rollout.uid]
        change = {"ownerReferences": owners, "resourceVersion": meta["resourceVersion"]}
        namespace, name = seen.whole.namespace, meta["name"]
        try:
            answer = await self._cluster.patch(kind, namespace, name, {"metadata": change})
        except errors.Missing:
            return
        except errors.Conflict:
            self._remember(kind, await self._cluster.get(kind, namespace, name))
            raise
        log.info("keep without its rollout", extra=seen.whole.about(child=child))
        self._remember(kind, answer)

    async def _unseen(self, seen: Subject, child: Manifest) -> Manifest | None:
        """Ask for a child that no watch has shown: applying would take over somebody else's."""
        name = child["metadata"]["name"]
        try:
            kind = MADE_BY_ROLLOUT[child["kind"]]
            return await self._cluster.get(kind, seen.whole.namespace, name)
        except errors.Missing:
            return None

    async def _move(self, seen: Subject, edit: RouteEdit | None, done: Done) -> None:
        """Patch the route, guarded by its version; a test that fails is a Conflict."""
        if edit is None:
            return
        namespace = seen.whole.namespace
        try:
            answer = await self._cluster.amend(HTTP_ROUTE, namespace, edit.name, edit.operations)
        except errors.Conflict:
            await self._read_route(namespace, edit)
            raise
        except errors.Refused as error:
            # A failed test and a webhook's refusal have the same status code.
            if await self._read_route(namespace, edit) != tested(edit):
                raise errors.Conflict(f"HTTPRoute {edit.name} has changed: {error}") from error
            done.route = str(error)
            log.warning("%s: %s", edit.sentence, error, extra=seen.whole.about())
        else:
            log.info(edit.sentence, extra=seen.whole.about())
            self._remember(HTTP_ROUTE, answer)

    async def _read_route(self, namespace: str, edit: RouteEdit) -> str | None:
        """Read the route anew; returns its version, None where it is gone."""
        try:
            fresh = await self._cluster.get(HTTP_ROUTE, namespace, edit.name)
        except errors.Missing:
            return None
        self._remember(HTTP_ROUTE, fresh)
        return str(fresh["metadata"]["resourceVersion"])

    async def warn(self, seen: Subject, refused: Iterable[RefusedChild], now: datetime) -> None:
        """Write a warning for each child that was refused."""
        sentences = [f"{child.kind} {child.name}: {child.message}" for child in refused]
        items = [News("Warning", Reason.CHILD_REFUSED, sentence) for sentence in sentences]
        await self._hand.tell(seen.whole, items, now)

    def forget(self, uid: str) -> None:
        """Forget what was applied for a rollout that is gone."""
        self._applied.pop(uid, None)


def tested(edit: RouteEdit) -> str | None:
    """Return the version of the route that an edit was made for."""
    for operation in edit.operations:
        if operation["op"] == "test" and operation["path"] == "/metadata/resourceVersion":
            return str(operation["value"])
    return None


def _unwanted(seen: Subject, plan: Plan) -> Iterator[Manifest]:
    """Yield the children of ours that the plan has no place for."""
    if plan.keeps_all:
        return
    children = plan.children
    kept = {(child.kind, child.name) for child in (*children.kept, *children.orphaned)}
    kept |= {key(child) for child in (*children.applied, *children.made)}
    for child_key, child in seen.children.items():
        if child_key not in kept and observe.bound(child, seen.rollout.uid):
            yield child


def _orphans(seen: Subject, plan: Plan) -> Iterator[Manifest]:
    """Yield the children that are to outlive the rollout and would still go with it."""
    wanted = {(child.kind, child.name) for child in plan.children.orphaned}
    for child_key, child in seen.children.items():
        if (plan.orphans_all or child_key in wanted) and observe.bound(child, seen.rollout.uid):
            yield child


def _sentence(child: Manifest, error: errors.Refused) -> str:
    if child["kind"] == HTTP_ROUTE.kind and isinstance(error, errors.Missing):
        return f"{error}. Is the Gateway API ({HTTP_ROUTE.api_version}) installed?"
    if child["kind"] == DEPLOYMENT.kind and NO_VOLUME in str(error):
        return f"{error}. Does Kubernetes lack image volumes? Set rollouts.imageVolumes to off"
    return str(error)


def _digest(child: Manifest) -> str:
    return hashlib.sha256(json.dumps(child, sort_keys=True).encode()).hexdigest()


def _version(body: Manifest) -> str:
    """Return what changes with each change of what is wanted, and not with the status."""
    meta = body["metadata"]
    return str(meta.get("generation") or meta["resourceVersion"])
