"""Leader election by a Lease of coordination.k8s.io, as client-go does it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import LEASE
from distill_operator.effects.leadership import Leadership
from distill_operator.plan.model import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """Names and times of the election, in seconds."""

    namespace: str
    name: str
    identity: str
    duration: float = 15.0
    """How long others wait after the last change that they saw."""
    renew_deadline: float = 10.0
    """How long the holder acts after its last successful renewal."""
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A version of the Lease, and when by our own clock it was first seen.

    Clocks of different machines are never compared.
    """

    version: str
    seen: float


def wanted(old: Manifest | None, terms: Terms, now: datetime) -> dict[str, Any]:
    """Return the Lease's spec with us as its holder."""
    before = (old or {}).get("spec") or {}
    ours = before.get("holderIdentity") == terms.identity
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    changes = int(before.get("leaseTransitions") or 0)
    return {
        "holderIdentity": terms.identity,
        "leaseDurationSeconds": int(terms.duration),
        "renewTime": moment,
        "acquireTime": before.get("acquireTime", moment) if ours else moment,
        "leaseTransitions": changes if ours or old is None else changes + 1,
    }


def free(old: Manifest, sighting: Sighting, terms: Terms, *, now: float) -> bool:
    """Tell whether we may take the Lease: ours, given up, or not renewed for its duration."""
    spec = old.get("spec") or {}
    holder = spec.get("holderIdentity")
    if not holder or holder == terms.identity:
        return True
    duration = float(spec.get("leaseDurationSeconds") or terms.duration)
    return now - sighting.seen > duration


class Election:
    """Takes and renews the Lease, and says so to `leadership`."""

    def __init__(
        self,
        cluster: Cluster,
        terms: Terms,
        leadership: Leadership,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._leadership = leadership
        self._clock = clock
        self._sighting = Sighting("", float("-inf"))

    async def run(self) -> None:
        """Try for ever; a failure to renew costs nothing until the renew deadline is over."""
        while True:
            led = self._leadership.held
            try:
                await self._try()
            except (errors.NotYet, errors.Refused) as error:
                log.warning("lease not renewed: %s", error)
            if led != self._leadership.held:
                log.info("leading" if self._leadership.held else "following")
            await asyncio.sleep(self._terms.retry)

    async def _try(self) -> None:
        started = self._clock()
        old = await self._read()
        if old is None:
            await self._cluster.create(LEASE, self._body(None), namespace=self._terms.namespace)
        elif self._is_free(old):
            await self._cluster.replace(LEASE, self._body(old))
        else:
            self._leadership.drop()
            return
        # Counted from before the call: the others count from after it.
        self._leadership.hold(started + self._terms.renew_deadline)

    async def _read(self) -> Manifest | None:
        try:
            return await self._cluster.get(LEASE, self._terms.namespace, self._terms.name)
        except errors.Missing:
            return None

    def _is_free(self, old: Manifest) -> bool:
        version = old["metadata"]["resourceVersion"]
        if version != self._sighting.version:
            self._sighting = Sighting(version, self._clock())
        return free(old, self._sighting, self._terms, now=self._clock())

    def _body(self, old: Manifest | None) -> Manifest:
        fresh: Manifest = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self._terms.namespace, "name": self._terms.name},
        }
        return (old or fresh) | {"spec": wanted(old, self._terms, datetime.now(UTC))}

    async def release(self) -> None:
        """Give the Lease up, so that a successor need not wait for its end."""
        if not self._leadership.held:
            return
        self._leadership.drop()
        try:
            old = await self._read()
            if old is not None and old["spec"].get("holderIdentity") == self._terms.identity:
                spec = old["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.replace(LEASE, old | {"spec": spec})
        except (errors.NotYet, errors.Refused) as error:
            log.warning("lease not given up: %s", error)
