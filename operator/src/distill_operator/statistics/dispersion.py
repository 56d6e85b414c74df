"""The design effect: how much less a burst of requests tells than as many independent ones.

If failures of the same minute are correlated by rho, k_i failures of n_i requests vary by
n_i p (1-p) D_i with D_i = 1 + (n_i - 1) rho. The moments of past minutes give
D = sum (k_i - n_i p)^2 / (p (1-p) sum n_i), weighted by requests because the counts of all minutes
are added up. More traffic means longer bursts: what is certain of rho is scaled to the newest.
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
    """The minute under way, and the whole minutes before it."""

    minute: int | None = None
    requests: int = 0
    failures: int = 0
    before: Minutes = field(default_factory=Minutes)


def add(clock: Clock, at: float, requests: int, failures: int) -> Clock:
    """Take in the counts of a look at `at` seconds; a minute counts once it is over."""
    minute = int(at // 60)
    if clock.minute is None or minute <= clock.minute:
        # A clock that jumped back adds to the minute it came from.
        kept = minute if clock.minute is None else clock.minute
        return Clock(kept, clock.requests + requests, clock.failures + failures, clock.before)
    return Clock(minute, requests, failures, _close(clock))


def skip(clock: Clock) -> Clock:
    """Forget the minute under way: what happened in it was the environment's fault."""
    return Clock(clock.minute, 0, 0, clock.before)


def effect(minutes: Minutes) -> float:
    """Estimate the design effect; 1 while there is too little to tell."""
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


def _close(clock: Clock) -> Minutes:
    """Add the minute under way to the whole ones; one without requests tells nothing."""
    n, k, sums = clock.requests, clock.failures, clock.before
    if not n:
        return sums
    return Minutes(
        sums.minutes + 1,
        sums.requests + n,
        sums.failures + k,
        sums.requests_squared + n * n,
        sums.failures_squared + k * k,
        sums.products + n * k,
        n,
    )
