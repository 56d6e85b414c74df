"""Whether the watches are alive, and full lists that repair what they missed."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import SELECTORS, Kind
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.store import Store, uid, version
from distill_operator.plan.model import Manifest

log = logging.getLogger(__name__)

GRACE: Final = 60.0
"""Seconds that a watch may take to deliver what a list has shown already."""

type Wake = Callable[[Kind, Manifest], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: kinds with their label selectors, and the namespaces (None: all)."""

    namespaces: tuple[str | None, ...] = (None,)
    selectors: Mapping[Kind, str] = field(default_factory=lambda: SELECTORS)


class Watches:
    """Takes what kopf's watches deliver into the store, and compares it with lists.

    A watch can go silent without an error, and after a break kopf lists anew without telling what
    was deleted meanwhile. So everything is listed from time to time, and the store is repaired. A
    kind whose watch has not delivered what a list, or the answer to an own write, showed more than
    GRACE seconds ago is dead.
    """

    def __init__(
        self, cluster: Cluster, store: Store, metrics: Metrics, scope: Scope, wake: Wake
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._metrics = metrics
        self.scope = scope
        self._wake = wake
        self._heard: dict[Kind, float] = {}
        self._delivered: dict[Kind, int] = {}
        self._owed: dict[Kind, dict[int, float]] = {kind: {} for kind in scope.selectors}
        self.synced = False
        """Whether a complete list has been taken at least once."""

    def deliver(self, kind: Kind, event: str | None, body: Manifest) -> None:
        """Take one event of a watch; `event` is None for the entries of kopf's own lists."""
        self._heard[kind] = time.monotonic()
        self._metrics.watched.labels(kind.plural).inc()
        self._delivered[kind] = max(self._delivered.get(kind, 0), version(body))
        changed = self._store.drop if event == "DELETED" else self._store.put
        if changed(kind, body):
            self._wake(kind, body)

    def remember(self, kind: Kind, body: Manifest) -> None:
        """Take the answer to an own write at once; the watch owes the same change."""
        if self._store.put(kind, body):
            self._owed[kind].setdefault(version(body), time.monotonic())

    async def resync(self) -> None:
        """List everything, take it over, and note what the watches still owe."""
        for kind, selector in self.scope.selectors.items():
            for namespace in self.scope.namespaces:
                listed, at = await self._cluster.list(kind, namespace, labels=selector)
                self._compare(kind, listed)
                for body in self._store.replace(kind, namespace, listed, int(at)):
                    self._metrics.missed.labels(kind.plural).inc(self.synced)
                    self._wake(kind, body)
        self.synced = True

    def _compare(self, kind: Kind, listed: list[Manifest]) -> None:
        now = time.monotonic()
        for body in listed:
            known = self._store.get(kind, uid(body))
            if self.synced and (known is None or version(known) < version(body)):
                self._owed[kind].setdefault(version(body), now)

    def dead(self) -> list[str]:
        """Return the kinds whose watch owes a change for longer than GRACE."""
        now = time.monotonic()
        late = []
        for kind, owed in self._owed.items():
            delivered = self._delivered.get(kind, 0)
            for old in [number for number in owed if number <= delivered]:
                del owed[old]
            if any(now - since > GRACE for since in owed.values()):
                late.append(kind.plural)
        return late

    def ages(self) -> dict[str, float]:
        """Return the seconds since each watch last delivered something."""
        now = time.monotonic()
        return {kind.plural: now - heard for kind, heard in self._heard.items()}
