"""The design effect: how much less a burst of requests tells than as many independent ones.

If failures of the same minute are correlated by rho, k_i failures of n_i requests vary by
n_i p (1-p) D_i with D_i = 1 + (n_i - 1) rho. The moments of past minutes give
D = sum (k_i - n_i p)^2 / (p (1-p) sum n_i), weighted by requests because the counts of all minutes
are added up. More traffic means longer bursts: what is certain of rho is scaled to the newest.

Bursts come and go. Bad minutes in a row are no burst but a student that fails: they are left out
while they last, or the failure itself would teach the test to ignore it.
"""

import math
from dataclasses import dataclass, field

MINUTES = 10
"""Minutes before an estimate is believed."""
FAILURES = 5
"""Failures before an estimate is believed."""
MOST = 10.0
"""A change of the rate itself looks like dispersion; it must not silence the test for long."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """Sums over whole minutes: requests n, failures k, their products; and n of the newest."""

    minutes: int = 0
    requests: int = 0
    failures: int = 0
    requests_squared: int = 0
    failures_squared: int = 0
    products: int = 0
    newest: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The minute under way, the row of bad minutes that led to it, and all minutes before."""

    minute: int | None = None
    requests: int = 0
    failures: int = 0
    row: Minutes = field(default_factory=Minutes)
    before: Minutes = field(default_factory=Minutes)


def add(clock: Clock, at: float, counted: tuple[int, int], *, limit: float) -> Clock:
    """Take in (requests, failures) of a look at `at` seconds; a minute counts once it is over.

    limit: the rate above which a minute is bad.
    """
    requests, failures = counted
    minute = int(at // 60)
    if clock.minute is None or minute <= clock.minute:
        # A clock that jumped back adds to the minute it came from.
        kept = minute if clock.minute is None else clock.minute
        requests, failures = clock.requests + requests, clock.failures + failures
        return Clock(kept, requests, failures, clock.row, clock.before)
    return Clock(minute, requests, failures, *_close(clock, limit))


def skip(clock: Clock) -> Clock:
    """Forget the minute under way and the bad ones before it: the environment was at fault."""
    return Clock(clock.minute, before=clock.before)


def estimate(clock: Clock) -> float:
    """Estimate the design effect from the minutes that are over; a single bad one is a burst."""
    burst = clock.row.minutes == 1
    return effect(_sum(clock.before, clock.row) if burst else clock.before)


def effect(minutes: Minutes) -> float:
    """Return the design effect of minutes; 1 while there are too few to tell."""
    n, k = minutes.requests, minutes.failures
    if minutes.minutes < MINUTES or k < FAILURES or k == n:
        return 1.0
    p = k / n
    # sum (k_i - n_i p)^2, with one degree of freedom spent on p
    squares = minutes.failures_squared - 2 * p * minutes.products + p**2 * minutes.requests_squared
    between = squares * minutes.minutes / (minutes.minutes - 1)
    mean = between / (n * p * (1 - p))
    return min(MOST, max(1.0, mean, _scaled(minutes, mean, p)))


def _scaled(minutes: Minutes, mean: float, p: float) -> float:
    """Scale the effect to the newest minute, less one standard error that chance would bring."""
    typical = minutes.requests_squared / minutes.requests
    # Var (k - np)^2 / (np(1-p)) is about 2 + 1/(np) for independent requests.
    error = math.sqrt((2 + 1 / (typical * p)) / minutes.minutes)
    rho = (mean - 1 - error) / max(1.0, typical - 1)
    return 1 + (minutes.newest - 1) * rho


def _close(clock: Clock, limit: float) -> tuple[Minutes, Minutes]:
    """End the minute under way: returns the row of bad minutes, and all before it."""
    n, k = clock.requests, clock.failures
    if not n:
        return clock.row, clock.before
    row = _sum(clock.row, Minutes(1, n, k, n * n, k * k, n * k, n))
    if k > n * limit:
        return row, clock.before
    return Minutes(), _sum(clock.before, row)


def _sum(one: Minutes, later: Minutes) -> Minutes:
    return Minutes(
        one.minutes + later.minutes,
        one.requests + later.requests,
        one.failures + later.failures,
        one.requests_squared + later.requests_squared,
        one.failures_squared + later.failures_squared,
        one.products + later.products,
        later.newest or one.newest,
    )
