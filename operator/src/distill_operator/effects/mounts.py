"""Why volumes of a pod cannot be mounted: the kubelet says it in Events only."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import CORE_EVENT
from distill_operator.plan.model import Manifest

PATIENCE: Final = timedelta(seconds=20)
"""Pods that start within this time are not asked about."""
REASONS: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
ASK_AGAIN: Final = timedelta(seconds=15)


class Mounts:
    """Remembers for a short time what was asked, so that passes do not repeat the question."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, tuple[datetime, str | None]] = {}

    async def problems(self, pods: Iterable[Manifest], now: datetime) -> dict[str, str | None]:
        """Return the latest mount problem of each pod that is late to start, by its uid."""
        late = [pod for pod in observe.unstarted(pods) if _age(pod, now) > PATIENCE]
        self._known = {
            key: value for key, value in self._known.items() if now - value[0] < ASK_AGAIN
        }
        return {pod["metadata"]["uid"]: await self._problem(pod, now) for pod in late}

    async def _problem(self, pod: Manifest, now: datetime) -> str | None:
        key = pod["metadata"]["uid"]
        if key not in self._known:
            self._known[key] = (now, await self._ask(pod))
        return self._known[key][1]

    async def _ask(self, pod: Manifest) -> str | None:
        meta = pod["metadata"]
        fields = f"involvedObject.uid={meta['uid']},type=Warning"
        try:
            found, _ = await self._cluster.list(CORE_EVENT, meta["namespace"], fields=fields)
        except errors.Refused:
            return None  # not allowed to read events: the pod's own state has to do
        told = [event for event in found if event.get("reason") in REASONS]
        return str(max(told, key=_when).get("message", "")) if told else None


def _age(pod: Manifest, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def _when(event: Manifest) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
