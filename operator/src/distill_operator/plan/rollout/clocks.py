"""Time that counts: added look by look, bounded, and only while it was really watched."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from distill_operator.plan.rollout.memory import Clocks

OVER: float = 1.5
"""Looks are late now and then: a bit more than the interval still counts as watched."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What this look found to hold, for the clocks that run on it."""

    verified: bool
    """The weight is as desired, carried by the gateways, and both sides answer."""
    carried: bool
    """The gateways have the weight that was written last, whatever the phase asks for."""
    ready: bool
    down: bool
    outage: bool | None
    """None: metrics were not asked for in this look."""
    stalled: bool
    retaining: bool
    measured: bool
    """The phase is one in which the student is judged."""


def passed(clocks: Clocks, interval: timedelta, *, now: datetime) -> float:
    """Return the seconds since the last look that count: never negative, never unbounded."""
    if clocks.looked_at is None:
        return 0
    seconds = (now - clocks.looked_at).total_seconds()
    return max(0.0, min(seconds, interval.total_seconds() * OVER))


def tick(clocks: Clocks, lived: Lived, interval: timedelta, *, now: datetime) -> Clocks:
    """Return the clocks after this look."""
    seconds = passed(clocks, interval, now=now)
    watched = seconds if lived.verified and clocks.verified else 0
    return replace(
        clocks,
        looked_at=now,
        verified=lived.verified,
        soak=clocks.soak + watched,
        retained=clocks.retained + (watched if lived.retaining else 0),
        watched=clocks.watched + (watched if lived.measured else 0),
        carried=clocks.carried + seconds if lived.carried else 0,
        weighed=clocks.weighed + seconds,
        ready=clocks.ready + seconds if lived.ready else 0,
        down=clocks.down + seconds if lived.down else max(0, clocks.down - seconds),
        outage=_outage(clocks.outage, seconds, missing=lived.outage),
        stalled=clocks.stalled + (seconds if lived.stalled else 0),
    )


def _outage(before: float, seconds: float, *, missing: bool | None) -> float:
    if missing is None:
        return before
    return before + seconds if missing else 0


def next_step(clocks: Clocks) -> Clocks:
    """Return the clocks at the beginning of a step, or of any new phase.

    How long the arms are ready or down does not depend on what is asked of them.
    """
    return replace(clocks, soak=0, stalled=0, retained=0, verified=False)
