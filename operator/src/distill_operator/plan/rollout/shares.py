"""The student's share that is written: what is asked for, as far as both sides can bear it."""

from typing import Final

from distill_operator.plan.rollout import readiness
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import WHOLE
from distill_operator.plan.rollout.phases import RESTING
from distill_operator.plan.rollout.situation import Situation
from distill_operator.plan.rollout.targets import target

WARMING: Final = 1
"""Share of a side that had none, per mille, until the gateways are connected to it; and the last
one of a side that shall have none.

A backend of weight 0 is one that a gateway need not know: Envoy Gateway 1.9 has no cluster for it.
It answers a share of any size with errors until it has one, and takes the cluster away a moment
before it takes the share away.
"""
WARM_SECONDS: Final = 2.0
"""Longer than a gateway takes to connect, which Envoy does within a second."""
COOL_SECONDS: Final = 1.0
"""Longer than a gateway takes to send almost nothing any more: 0.6 s at worst was seen."""
LONGEST_SECONDS: Final = 10.0
"""Time for a gateway to take the last share over before nothing is given whatever it says."""


def desired(memory: Memory, here: Situation) -> int | None:
    """Return the weight to write, per mille; None: the route is left as it is."""
    wanted, current = borne(memory, here), here.route.share
    if wanted is None or current is None:
        return wanted
    warmed = _warmed(wanted, current, memory, here)
    # At rest no clock runs, and nothing has traffic but what somebody else gave it.
    return warmed if here.phase in RESTING else _cooled(warmed, current, memory, here)


def led(memory: Memory, here: Situation) -> bool:
    """Tell whether the weight is on its way: led up from nothing, or down to it."""
    wanted = borne(memory, here)
    return wanted is not None and wanted != memory.weights.desired


def borne(memory: Memory, here: Situation) -> int | None:
    """Return the weight that both sides can bear, once the gateways are connected to them."""
    wanted, current = target(memory, here.policy), here.route.share
    if wanted is None:
        return None
    if current is None:
        return 0 if wanted == 0 else memory.weights.desired
    found = readiness.share(wanted, current, student=here.student, teacher=here.teacher)
    # More traffic only for a student that was ready long enough, without a break.
    unsteady = memory.clocks.ready < here.policy.min_ready.total_seconds()
    return current if found > current and unsteady else found


def _warmed(wanted: int, current: int, memory: Memory, here: Situation) -> int:
    """Return the share by which a side that had no traffic is led up to what is wanted."""
    if wanted > current and _cold(current, 0, WARMING, memory):
        return min(wanted, WARMING)
    falls = wanted < current and _cold(current, WHOLE, WHOLE - WARMING, memory)
    # A student that is dead already loses more than a cold teacher.
    return max(wanted, WHOLE - WARMING) if falls and here.student.ready > 0 else wanted


def _cold(current: int, nothing: int, warming: int, memory: Memory) -> bool:
    """Tell whether a side has nothing, or had nothing until just now."""
    began = current == warming and memory.weights.previous == nothing
    warm = memory.weights.desired == current and memory.clocks.carried >= WARM_SECONDS
    return current == nothing or (began and not warm)


def _cooled(wanted: int, current: int, memory: Memory, here: Situation) -> int:
    """Return the share by which a side that shall have no traffic is led down to nothing.

    Only one that answers: requests to a side without endpoints are lost either way.
    """
    if wanted == 0 and here.student.ready > 0 and _hot(current, memory):
        return WARMING
    if wanted == WHOLE and here.teacher.ready > 0 and _hot(WHOLE - current, memory):
        return WHOLE - WARMING
    return wanted


def _hot(share: int, memory: Memory) -> bool:
    """Tell whether a side has more than the least share, or had until just now.

    A gateway that takes no change must not keep the share for ever.
    """
    late = memory.clocks.weighed >= LONGEST_SECONDS
    let_go = late or memory.clocks.carried >= COOL_SECONDS
    return share > WARMING or (share == WARMING and not let_go)


def safety(wanted: int, here: Situation) -> bool:
    """Tell whether a weight is written even over somebody else's, as requests would fail."""
    dead = here.student.ready == 0 and here.teacher.ready > 0
    return dead and wanted == 0
