"""Confidence sequences: intervals that hold at every look at once, however often one looks.

A rate has Robbins' beta-binomial mixture, which is exact; a mean has the asymptotic sequence of
Waudby-Smith et al. (2021). They are shown and gate the last step; the sequential tests decide.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

PRIOR = 0.5
"""Both parameters of the mixing beta distribution: Jeffreys' choice."""
BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float


def log_mixture(requests: float, failures: float, rate: float) -> float:
    """Return the log of the mixture's likelihood ratio against one rate: a log e-value.

    B(a+k, b+n-k) / (B(a,b) p^k (1-p)^(n-k)) with a = b = 1/2; counts may be fractions of counts
    when they were divided by a design effect.
    """
    successes = requests - failures
    mixed = _log_beta(PRIOR + failures, PRIOR + successes) - _log_beta(PRIOR, PRIOR)
    return mixed - _times_log(failures, rate) - _times_log(successes, 1 - rate)


def of_rate(requests: float, failures: float, *, alpha: float, effect: float = 1.0) -> Interval:
    """Return the rates that the counts do not exclude: { p : mixture < 1/alpha }.

    effect: the design effect, see `dispersion`. Without a request every rate is possible.
    """
    n, k = requests / effect, failures / effect
    if n <= 0:
        return Interval(0.0, 1.0)
    bound = -math.log(alpha)

    def excluded(rate: float) -> bool:
        return log_mixture(n, k, rate) >= bound

    # log_mixture is convex in the rate with its least value at k/n: one crossing on each side.
    best = k / n
    return Interval(_edge(excluded, best, 0.0), _edge(excluded, best, 1.0))


def half_width(count: int, deviation: float, *, alpha: float, planned: int) -> float:
    """Return the asymptotic half-width around a mean of `count` values.

    deviation: their standard deviation; planned: the count at which the interval is tightest.
    """
    if count < 2:
        return math.inf
    spent = -2 * math.log(alpha)
    rho2 = (spent + math.log(spent) + 1) / planned
    grown = count * rho2 + 1
    inner = 2 * grown / (count**2 * rho2) * math.log(math.sqrt(grown) / alpha)
    return deviation * math.sqrt(inner)


def _edge(excluded: Callable[[float], bool], inside: float, outside: float) -> float:
    """Bisect between a rate that is possible and the end of the scale."""
    if not excluded(outside):
        return outside
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
    return inside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(times: float, value: float) -> float:
    """Return times * ln(value), where nothing times minus infinity is nothing."""
    if times <= 0:
        return 0.0
    return times * math.log(value) if value > 0 else -math.inf
