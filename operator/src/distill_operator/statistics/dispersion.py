"""The design effect: how much less a burst of requests tells than as many independent ones.

D = max(1, sum (k_i - n_i p)^2 / (p (1-p) sum n_i)) over minutes, where k_i of n_i requests failed:
the variance between minutes beside that of independent requests, weighted by requests because
the counts of all minutes are added up.
"""

from dataclasses import dataclass, replace

MINUTES = 10
"""Minutes before an estimate is believed."""
FAILURES = 5
"""Failures before an estimate is believed."""
MOST = 10.0
"""A change of the rate itself looks like dispersion; it must not silence the test for long."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """Sums over whole minutes: requests n, failures k, and their products."""

    minutes: int = 0
    requests: int = 0
    failures: int = 0
    requests_squared: int = 0
    failures_squared: int = 0
    products: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The minute under way, and the whole minutes before it."""

    minute: int | None = None
    requests: int = 0
    failures: int = 0
    before: Minutes = Minutes()


def add(clock: Clock, at: float, requests: int, failures: int) -> Clock:
    """Take in the counts of a look at `at` seconds; a minute counts once it is over."""
    minute = int(at // 60)
    if clock.minute is None or minute <= clock.minute:
        return replace(
            clock,
            minute=minute if clock.minute is None else clock.minute,
            requests=clock.requests + requests,
            failures=clock.failures + failures,
        )
    return Clock(minute, requests, failures, _close(clock))


def effect(minutes: Minutes) -> float:
    """Estimate the design effect; 1 while there is too little to tell."""
    n, k = minutes.requests, minutes.failures
    if minutes.minutes < MINUTES or k < FAILURES or k == n:
        return 1.0
    p = k / n
    # sum (k_i - n_i p)^2, with one degree of freedom spent on p
    squares = minutes.failures_squared - 2 * p * minutes.products + p**2 * minutes.requests_squared
    between = squares * minutes.minutes / (minutes.minutes - 1)
    return min(MOST, max(1.0, between / (n * p * (1 - p))))


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
    )
