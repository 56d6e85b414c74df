"""Kubernetes Events for the planner's news: one object for each sentence, counted when repeated."""

import hashlib
from datetime import UTC, datetime
from typing import Protocol

from distill_api import names

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import EVENT, Kind
from distill_operator.plan.model import Manifest

NOTE_LIMIT = 1024
"""Characters that the API server takes in an Event's note."""


class Item(Protocol):
    """A sentence worth an Event."""

    @property
    def kind(self) -> str:
        """Normal or Warning."""

    @property
    def reason(self) -> str:
        """One word for programs."""

    @property
    def message(self) -> str:
        """The sentence."""


class Regarding(Protocol):
    """What an Event is about."""

    @property
    def kind(self) -> Kind:
        """Its kind."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def uid(self) -> str:
        """Its uid."""


def _name(about: Regarding, item: Item) -> str:
    """Return the Event's name: the same sentence about the same object has the same one."""
    text = f"{about.uid}/{item.reason}/{item.message}"
    return f"{about.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def event(about: Regarding, item: Item, *, reporter: str, now: datetime) -> Manifest:
    """Return the Event as a manifest."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": _name(about, item), "namespace": about.namespace},
        "eventTime": _micro(now),
        "type": item.kind,
        "reason": str(item.reason),
        "action": "Reconcile",
        "note": item.message[:NOTE_LIMIT],
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": reporter[:128],
        "regarding": {
            "apiVersion": about.kind.api_version,
            "kind": about.kind.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }


def _micro(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def tell(cluster: Cluster, event: Manifest, *, now: datetime) -> None:
    """Write the Event; where it is there already, count it once more."""
    try:
        await cluster.create(EVENT, event)
    except errors.Exists:
        place = event["metadata"]
        old = await cluster.get(EVENT, place["namespace"], place["name"])
        count = int((old.get("series") or {}).get("count", 1)) + 1
        series = {"series": {"count": count, "lastObservedTime": _micro(now)}}
        await cluster.patch(EVENT, place["namespace"], place["name"], series)
