"""Kubernetes Events for the planner's news: one object for each sentence, counted when repeated."""

import hashlib
from datetime import UTC, datetime

from distill_api import names

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DISTILLATION_JOB, EVENT
from distill_operator.plan.model import Manifest, News, ObservedJob

NOTE_LIMIT = 1024
"""Characters that the API server takes in an Event's note."""


def name(job: ObservedJob, news: News) -> str:
    """Return the Event's name: the same sentence about the same object has the same one."""
    text = f"{job.uid}/{news.reason}/{news.message}"
    return f"{job.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def event(job: ObservedJob, news: News, *, reporter: str, now: datetime) -> Manifest:
    """Return the Event as a manifest."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": name(job, news), "namespace": job.namespace},
        "eventTime": _micro(now),
        "type": news.kind,
        "reason": str(news.reason),
        "action": "Reconcile",
        "note": news.message[:NOTE_LIMIT],
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": reporter[:128],
        "regarding": {
            "apiVersion": DISTILLATION_JOB.api_version,
            "kind": DISTILLATION_JOB.kind,
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
        },
    }


def _micro(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def tell(
    cluster: Cluster, job: ObservedJob, news: News, *, reporter: str, now: datetime
) -> None:
    """Write the Event; where it is there already, count it once more."""
    try:
        await cluster.create(EVENT, event(job, news, reporter=reporter, now=now))
    except errors.Exists:
        old = await cluster.get(EVENT, job.namespace, name(job, news))
        count = int((old.get("series") or {}).get("count", 1)) + 1
        series = {"series": {"count": count, "lastObservedTime": _micro(now)}}
        await cluster.patch(EVENT, job.namespace, name(job, news), series)
