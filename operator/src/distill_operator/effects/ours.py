"""What is done alike to every object of ours: finalizers, status, events, making children."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from distill_api import names
from distill_api.base import Model

from distill_operator import errors
from distill_operator.effects import news
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DISTILLATION_JOB, Kind
from distill_operator.effects.news import Item
from distill_operator.plan.model import Manifest

log = logging.getLogger(__name__)

type Remember = Callable[[Kind, Manifest], None]

type Key = tuple[str, str]
"""Kind and name of a child; all children live in their owner's namespace."""


def key(body: Manifest) -> Key:
    """Return what identifies a child within its namespace."""
    return body["kind"], body["metadata"]["name"]


@dataclass(frozen=True, slots=True)
class Whole:
    """An object of ours, as far as it matters to whoever writes around it."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    generation: int

    @classmethod
    def of(cls, kind: Kind, body: Manifest) -> Self:
        """Return the object that a body is of."""
        meta = body["metadata"]
        generation = meta.get("generation", 1)
        return cls(kind, meta["namespace"], meta["name"], meta["uid"], generation)

    def about(self, *, child: Manifest | None = None, reason: str | None = None) -> dict[str, Any]:
        """Return the fields that a log line about this object carries."""
        fields: dict[str, Any] = {
            "namespace": self.namespace,
            "job" if self.kind == DISTILLATION_JOB else "rollout": self.name,
            "generation": self.generation,
        }
        if child is not None:
            fields["child"] = "/".join(key(child))
        if reason is not None:
            fields["reason"] = reason
        return {"about": fields}


class Hand:
    """Writes; gives to `remember` what the API server answered."""

    def __init__(self, cluster: Cluster, remember: Remember, *, reporter: str) -> None:
        self._cluster = cluster
        self._remember = remember
        self._reporter = reporter

    async def hold(self, whole: Whole, body: Manifest, wanted: Iterable[str]) -> Manifest:
        """Add the finalizers that are missing; a deleted object takes none any more."""
        held = body["metadata"].get("finalizers") or []
        missing = sorted(set(wanted) - set(held))
        if not missing or "deletionTimestamp" in body["metadata"]:
            return body
        return await self._set_finalizers(whole, body, [*held, *missing])

    async def let_go(self, whole: Whole, body: Manifest, wanted: Iterable[str]) -> Manifest:
        """Remove the finalizers of ours that are not wanted any more."""
        held, kept = body["metadata"].get("finalizers") or [], set(wanted)
        left = [name for name in held if name in kept or not _is_ours(name)]
        return body if left == held else await self._set_finalizers(whole, body, left)

    async def _set_finalizers(self, whole: Whole, body: Manifest, wanted: list[str]) -> Manifest:
        version = body["metadata"]["resourceVersion"]
        change = {"metadata": {"finalizers": wanted, "resourceVersion": version}}
        answer = await self._cluster.patch(whole.kind, whole.namespace, whole.name, change)
        self._remember(whole.kind, answer)
        return answer

    async def report(self, whole: Whole, body: Manifest, before: Model, after: Model) -> Manifest:
        """Write the status if it differs from what was read, and only over what was read.

        A change by somebody else in between is a Conflict, and the pass begins anew.
        """
        if after == before and body.get("status") is not None:
            return body
        status = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = await self._cluster.replace(whole.kind, body | {"status": status}, sub="status")
        self._remember(whole.kind, answer)
        return answer

    async def tell(self, whole: Whole, items: Sequence[Item], now: datetime) -> None:
        """Write the events; one that cannot be written is logged, as the status has it all."""
        for item in items:
            log.info(item.message, extra=whole.about(reason=str(item.reason)))
            event = news.event(whole, item, reporter=self._reporter, now=now)
            try:
                await news.tell(self._cluster, event, now=now)
            except (errors.Refused, errors.NotYet) as error:
                log.warning("event not written: %s", error, extra=whole.about())

    async def create_or_find(self, whole: Whole, kind: Kind, child: Manifest) -> Manifest:
        """Create a child, or return the one of that name that is there already if it is ours.

        Refused where it is somebody else's, NotYet while an older one is still going.
        """
        name = child["metadata"]["name"]
        try:
            made = await self._cluster.create(kind, child, namespace=whole.namespace)
        except errors.Exists as error:
            found = await self._cluster.get(kind, whole.namespace, name)
            require_alike(whole, child, found, cause=error)
            return found
        log.info("create", extra=whole.about(child=made))
        return made


def require_alike(
    whole: Whole, child: Manifest, found: Manifest, *, cause: Exception | None = None
) -> None:
    """Raise where what has the child's name is on its way out (NotYet) or is another's (Refused).

    What a job shares with others, such as a cache, has no owner.
    """
    name = f"{child['kind']} {child['metadata']['name']}"
    if "deletionTimestamp" in found["metadata"]:
        raise errors.NotYet(f"{name} of before is still going") from cause
    if owner_uids(found) != owner_uids(child):
        raise errors.Refused(f"{name} exists already and {_whose(whole, found)}") from cause


def _whose(whole: Whole, found: Manifest) -> str:
    """Return whose an object is that is not ours, and what to do."""
    if whole.kind == DISTILLATION_JOB:
        return "does not belong to this job: delete or rename it"
    label = names.Label.ROLLOUT
    if not owner_uids(found) and label in (found["metadata"].get("labels") or {}):
        chosen = f"{label}={found['metadata']['labels'][label]}"
        return (
            "was kept when an earlier rollout was deleted, as requests may depend on it: give this"
            " rollout another name, or first delete what was kept (kubectl delete"
            f" httproute,service,deployment -l {chosen})"
        )
    return "does not belong to this rollout: delete or rename it"


def _is_ours(finalizer: str) -> bool:
    return finalizer.startswith(f"{names.GROUP}/")


def owner_uids(body: Manifest) -> set[str]:
    """Return the uids of the object's owners."""
    return {ref["uid"] for ref in body["metadata"].get("ownerReferences") or ()}
