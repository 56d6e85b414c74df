"""Run one rollout to where it comes to rest, under traffic, and tell how it went."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from devcluster import Cluster, traffic
from devcluster.kubectl import manifest
from devcluster.traffic import Outcome

from examples.embedding import install
from examples.embedding.install import NAMESPACE, ROOT
from examples.rollout import follow, picture
from examples.rollout.follow import Sample

OUTPUT = ROOT / "build" / "demo" / "rollout"
type Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """What users send while a rollout runs, and how patient everybody is."""

    requests: Sequence[traffic.Request]
    """Sent in turns."""
    per_second: float
    timeout_seconds: float = 10.0
    """Of a request."""
    start_seconds: float = 180.0
    """Until the teacher answers."""
    limit_seconds: float = 600.0
    """From then until the rollout has come to rest."""


def roll_out(cluster: Cluster, rollout: Manifest, load: Load) -> Manifest:
    """Roll out under traffic and tell how it went; returns the status it came to rest with."""
    name = rollout["metadata"]["name"]
    print(f"== rollout {name}", flush=True)
    clear(cluster, name)
    applied = time.monotonic()
    cluster.kubectl("apply", "-f", "-", stdin=manifest(rollout))
    wait_for_teacher(load)
    with traffic.flowing(
        load.requests, per_second=load.per_second, timeout_seconds=load.timeout_seconds
    ) as flow:
        api = install.objects(cluster)
        samples = follow.follow(api, NAMESPACE, name, seconds=load.limit_seconds)
        rested = time.monotonic() - applied
        time.sleep(3)
    conclude(cluster, name, samples, flow.outcomes)
    print(f"  {rested:.0f} s from its creation, {samples[-1].seconds:.0f} s of them under traffic")
    return samples[-1].status


def clear(cluster: Cluster, name: str) -> None:
    """Remove an earlier run's rollout, and what was kept of it because requests might need it."""
    here = ("-n", NAMESPACE, "delete", "--ignore-not-found", "--wait")
    cluster.kubectl(*here, "drollout", name)
    kept = "httproute,service,deployment"
    cluster.kubectl(*here, kept, "-l", f"kubedistill.io/rollout={name}")


def wait_for_teacher(load: Load) -> None:
    """Wait until the gateway has the route and the teacher behind it answers."""
    until = time.monotonic() + load.start_seconds
    while time.monotonic() < until:
        if _answered(load.requests[0]):
            return
        time.sleep(0.5)
    raise TimeoutError(
        f"the teacher has not answered within {load.start_seconds:.0f} s: look at"
        f" `kubectl -n {NAMESPACE} get drollout,pods,httproute`"
    )


def _answered(request: traffic.Request) -> bool:
    try:
        return traffic.succeeds(request)
    except httpx.TimeoutException:  # a first answer may take long on a busy machine
        return False


def conclude(
    cluster: Cluster, name: str, samples: Sequence[Sample], outcomes: Sequence[Outcome]
) -> None:
    """Print decisions, verdicts and what the users saw; draw the picture."""
    status = samples[-1].status
    print(cluster.kubectl("-n", NAMESPACE, "get", "drollout", name, "-o", "wide"))
    print(f"{status['phase']}: {status['message']}")
    for decision in status.get("history", []):
        print(f"  {decision['at']} {decision['weight'] / 10:5g}% {decision['message']}")
    failed = [outcome for outcome in outcomes if not outcome.good]
    print(f"  {len(outcomes)} requests through the gateway, {len(failed)} of them failed")
    drawn = picture.draw(samples, f"{name}: {status['phase']}", OUTPUT / f"{name}.svg")
    print(f"  picture: {drawn}")
