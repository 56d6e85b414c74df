"""How soon a bad student bears nothing on a real gateway, and whether moves lose requests.

Seconds count from the first failed answer that a user got, so neither the switch nor the requests'
own spacing adds to them.
"""

import math
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import images
import moving
import namespaces
from devcluster import Cluster, gateways, traffic
from moving import Scene
from operators import Operator, eventually

from examples.embedding import install

RATE = 50.0
"""Requests each second, half of them the student's."""
WARMING = 1
"""Share, per mille, by which the gateway is connected to a student."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """Seconds from a user's first failed answer."""

    written: float
    """Until the route had no weight for the student."""
    felt: float
    """Until the last failed answer."""
    verified: float
    """Until the status said that the gateway carries it."""
    failed: int
    """Answers."""


@dataclass(frozen=True, slots=True)
class Moves:
    """What users got while weights were moved."""

    requests: int
    failed: int
    changes: int


@contextmanager
def scene(*, operated: bool = True) -> Iterator[Scene]:
    """Yield a rollout's namespace with a gateway and both models in it.

    operated: with our operator, too.
    """
    cluster = Cluster.attach_or_up(addons={"registry", "gateway", "prometheus"})
    # A new name each time: an earlier run's namespace may still be on its way out.
    name = f"bench-{secrets.token_hex(4)}"
    cluster.kubectl("apply", "-f", "-", stdin=install.restricted(name))
    image = {"KUBEDISTILL_SERVER_IMAGE": images.image(cluster, "server")}
    with tempfile.TemporaryDirectory() as scratch:
        models = moving.push(cluster.registry, Path(scratch, "models"))
        log = Path(scratch, "operator.log")
        made = Scene(cluster, name, gateways.make(cluster, name), models)
        try:
            if not operated:
                yield made
                return
            with Operator(cluster.kubeconfig, name, log, more=image):
                yield made
                made("delete", "drollout", "--all", "--wait", "--timeout=120s")
        finally:
            namespaces.dismiss(cluster, name)


def half_fails(here: Scene, trials: int) -> list[Reaction]:
    """Let the student fail half of its requests, each time after it has served well."""
    found = []
    for number in range(trials):
        here.roll_out(retry=f"half-{number}")
        here.answers()
        with traffic.flowing([here.request], per_second=RATE) as flow:
            here.serves_at(500)
            time.sleep(2)
            broken = time.time()
            here.fail()
            found.append(_reaction(here, flow, broken))
        here.fail(half=False)
        here.is_back()
    return found


def half_fails_at_once(here: Scene, trials: int) -> list[Reaction]:
    """Let the student fail half of its requests from the first one on."""
    found = []
    here.roll_out(abort=True)
    here.is_back()
    for number in range(trials):
        here.answers()
        with traffic.flowing([here.request], per_second=RATE) as flow:
            began, trial = time.time(), f"at-once-{number}"
            here.roll_out(retry=trial, student=here.student(FAULT=trial))
            eventually(lambda: here.weights()[1] > WARMING, "its weight", within=120, every=0.05)
            found.append(_reaction(here, flow, began))
        here.is_back()
    return found


def pods_die(here: Scene, trials: int) -> list[Reaction]:
    """Kill the student's only pod, each time after it has served well."""
    found = []
    # Long enough without traffic to be seen so, however soon the next pod is there.
    here.roll_out(retry="pods", schedule=here.schedule | {"minReadySeconds": 10})
    here.answers()
    for _ in range(trials):
        with traffic.flowing([here.request], per_second=RATE) as flow:
            here.serves_at(500)
            time.sleep(2)
            broken = time.time()
            _kill(here)
            found.append(_reaction(here, flow, broken))
    return found


def _kill(here: Scene) -> None:
    here("delete", "pod", here.pod("student"), "--grace-period=0", "--force", "--wait=false")


def _reaction(here: Scene, flow: traffic.Traffic, broken: float) -> Reaction:
    """Wait until the student bears nothing."""
    eventually(lambda: here.weights() == [1000, 0], "no weight", within=60, every=0.02)
    written = time.time()
    here.bears_nothing()
    verified = time.time()
    return told(flow, broken, written=written, verified=verified)


def told(flow: traffic.Traffic, broken: float, *, written: float, verified: float) -> Reaction:
    """Return what users felt since the fault, once the last answers have come; times since 1970."""
    time.sleep(2)
    bad = [outcome for outcome in flow.since(broken - 1) if not outcome.good]
    # Pods may die without one failed answer: then seconds count from the fault itself.
    first = min((outcome.ended for outcome in bad), default=broken)
    last = max((outcome.ended for outcome in bad), default=broken)
    return Reaction(written - first, last - first, verified - first, len(bad))


def moves(here: Scene, requests: int) -> Moves:
    """Move the weights of a good student to and fro until so many requests were sent."""
    changes, steps = 0, [{"weight": w, "minSoakSeconds": 2, "minRequests": 1} for w in (10, 60)]
    steps.append({"weight": 100, "minSoakSeconds": 3600})
    quick = [{"name": "errors", "errors": {"fine": 0.005, "limit": 0.2}}]
    plan: dict[str, Any] = {"metrics": quick, "schedule": {"steps": steps, "minReadySeconds": 1}}
    here.roll_out(**plan, retry="moves")
    here.answers()
    with traffic.flowing([here.request], per_second=RATE) as flow:
        while len(flow.outcomes) < requests:
            here.roll_out(**plan, abort=False, retry=f"moves-{changes}")
            # The teacher keeps a thousandth.
            here.serves_at(999)
            here.roll_out(**plan, abort=True, retry=f"moves-{changes}")
            here.is_back()
            # 0.1, 10, 60 and 99.9 %, back to 0.1 and to nothing.
            changes += 6
    outcomes = flow.outcomes
    return Moves(len(outcomes), sum(not outcome.good for outcome in outcomes), changes)


def columns(found: Sequence[Reaction]) -> list[str]:
    """Return what the table says of some trials.

    Their number, median and P99 of the last failed answer and of weight 0, and failed answers.
    """
    failed = median(one.failed for one in found)
    times = ([one.felt for one in found], [one.verified for one in found])
    return [
        str(len(found)),
        *(number for each in times for number in _spread(each)),
        f"{failed:.0f}",
    ]


def _spread(seconds: Sequence[float]) -> tuple[str, str]:
    """Return median and P99, which of fewer than a hundred is the largest."""
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
    return f"{median(ordered):.2f}", f"{last:.2f}"
