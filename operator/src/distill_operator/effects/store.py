"""What the watches, lists and own writes have shown: the newest version of each object."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from distill_api.names import Label

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import (
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    SELECTORS,
    WRITERS_KEPT,
    Kind,
)
from distill_operator.plan.model import Manifest

REMEMBERED_DELETIONS: Final = 20_000


def version(body: Manifest) -> int:
    """Return the resourceVersion as a number: the API server promises that they can be compared."""
    return int(body["metadata"]["resourceVersion"])


def uid(body: Manifest) -> str:
    """Return the object's uid."""
    return str(body["metadata"]["uid"])


def owner_uid(kind: Kind, body: Manifest) -> str | None:
    """Return the uid of the object of ours that this one is or belongs to; None: to none alone."""
    if kind in {DISTILLATION_JOB, DISTILLED_ROLLOUT}:
        return uid(body)
    labels = body["metadata"].get("labels") or {}
    return labels.get(Label.JOB_UID) or labels.get(Label.ROLLOUT_UID)


class Store:
    """Objects by kind and uid.

    An older version never replaces a newer one, and a deleted object never comes back: watches,
    lists and the answers to own writes arrive in any order.
    """

    def __init__(self, kinds: Iterable[Kind] = tuple(SELECTORS)) -> None:
        self._bodies: dict[Kind, dict[str, Manifest]] = {kind: {} for kind in kinds}
        self._family: dict[str, dict[str, Kind]] = defaultdict(dict)
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, kind: Kind, body: Manifest) -> bool:
        """Keep the body if it is news; tell whether it was."""
        key = uid(body)
        known = self._bodies[kind].get(key)
        if key in self._gone or (known is not None and version(known) >= version(body)):
            return False
        left_out = set() if kind in WRITERS_KEPT else {"managedFields"}
        slim = {k: v for k, v in body["metadata"].items() if k not in left_out}
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        self._bodies[kind][key] = head | body | {"metadata": slim}
        owner = owner_uid(kind, body)
        if owner is not None:
            self._family[owner][key] = kind
        return True

    def drop(self, kind: Kind, body: Manifest) -> bool:
        """Forget a deleted object for good; tell whether it was known."""
        key = uid(body)
        self._gone[key] = None
        while len(self._gone) > REMEMBERED_DELETIONS:
            self._gone.popitem(last=False)
        known = self._bodies[kind].pop(key, None)
        owner = owner_uid(kind, known or body)
        if owner is not None:
            self._family[owner].pop(key, None)
            if not self._family[owner]:
                del self._family[owner]
        return known is not None

    def replace(
        self, kind: Kind, namespace: str | None, listed: Iterable[Manifest], at: int
    ) -> list[Manifest]:
        """Take over a complete list of a namespace (None: of all) as of version `at`.

        Returns the objects that were not known in that version, or not known to be gone: what the
        watch had missed, or not delivered yet.
        """
        bodies = {uid(body): body for body in listed}
        vanished = [
            body
            for key, body in self._bodies[kind].items()
            if key not in bodies
            and version(body) <= at
            and namespace in {None, body["metadata"]["namespace"]}
        ]
        for body in vanished:
            self.drop(kind, body)
        return vanished + [body for body in bodies.values() if self.put(kind, body)]

    def get(self, kind: Kind, key: str) -> Manifest | None:
        """Return an object by its uid."""
        return self._bodies.get(kind, {}).get(key)

    def watches(self, kind: Kind) -> bool:
        """Tell whether objects of a kind are kept here."""
        return kind in self._bodies

    async def read_again(self, cluster: Cluster, kind: Kind, body: Manifest) -> None:
        """Take over an object as it is now; one that is gone or another by now is dropped."""
        meta = body["metadata"]
        try:
            fresh = await cluster.get(kind, meta["namespace"], meta["name"])
        except errors.Missing:
            self.drop(kind, body)
            return
        if fresh["metadata"]["uid"] != meta["uid"]:
            self.drop(kind, body)
        self.put(kind, fresh)

    def all(self, kind: Kind) -> Iterator[Manifest]:
        """Return every object of a kind; none of one that is not watched."""
        return iter(list(self._bodies.get(kind, {}).values()))

    def named(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return an object by its name."""
        for body in self._bodies.get(kind, {}).values():
            meta = body["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace:
                return body
        return None

    def children(self, kind: Kind, owner: str) -> list[Manifest]:
        """Return the objects of a kind that belong to an object of ours, by its uid."""
        family = self._family.get(owner, {})
        return [self._bodies[kind][key] for key, found in family.items() if found == kind]

    def shared(self, kind: Kind, namespace: str) -> list[Manifest]:
        """Return the objects of a kind in a namespace that belong to no single job."""
        return [
            body
            for body in self._bodies[kind].values()
            if body["metadata"]["namespace"] == namespace and owner_uid(kind, body) is None
        ]

    def jobs_in(self, namespace: str) -> list[str]:
        """Return the uids of the DistillationJobs of a namespace."""
        return [
            key
            for key, body in self._bodies[DISTILLATION_JOB].items()
            if body["metadata"]["namespace"] == namespace
        ]
