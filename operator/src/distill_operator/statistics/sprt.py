"""Wald's sequential probability ratio test of a failure rate, with its exact characteristics.

H0: a request fails with probability p0; H1: with p1 > p0. The log-likelihood ratio depends on the
counts alone, so looking at scrape times only is allowed, and fewer looks only lower the errors.
Reference: Wald, Sequential Analysis (1947); Ville's inequality for the bound that needs no beta.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import count, islice

LONGEST = 100_000
"""Requests after which the exact computation gives up: no rollout waits for so many."""


class Decision(StrEnum):
    """What a sequential test says now."""

    CONTINUE = "Continue"
    ACCEPT = "Accept"
    REJECT = "Reject"


@dataclass(frozen=True, slots=True)
class Design:
    """What the test tells apart, p0 from p1, and how often it may err.

    alpha: of rejecting at p0; beta: of accepting at p1. With `ville` the upper bound is
    ln(1/alpha), which keeps alpha for any schedule of looks and any overshoot; Wald's
    ln((1-beta)/alpha) may exceed it by the factor 1/(1-beta).
    """

    p0: float
    p1: float
    alpha: float
    beta: float
    ville: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.p0 < self.p1 < 1:
            raise ValueError(
                f"rates {self.p0} and {self.p1} cannot be told apart: expected"
                " 0 < p0 < p1 < 1. Lower the first or raise the second"
            )
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(
                f"alpha {self.alpha} and beta {self.beta} must lie between 0 and 0.5: they are the"
                " shares of wrong decisions that are tolerated"
            )

    @property
    def up(self) -> float:
        """What a failure adds to the log-likelihood ratio."""
        return math.log(self.p1 / self.p0)

    @property
    def down(self) -> float:
        """What a success adds; negative."""
        return math.log((1 - self.p1) / (1 - self.p0))

    @property
    def upper(self) -> float:
        """The log-likelihood ratio from which H0 is rejected."""
        return math.log((1.0 if self.ville else 1 - self.beta) / self.alpha)

    @property
    def lower(self) -> float:
        """The log-likelihood ratio down to which H0 is accepted; negative."""
        return math.log(self.beta / (1 - self.alpha))

    @property
    def indifferent(self) -> float:
        """The rate at which the ratio does not move on average: the slope of both lines."""
        return -self.down / (self.up - self.down)

    @property
    def lines(self) -> tuple[float, float]:
        """The intercepts h1, h2: accept at k <= s n - h1, reject at k >= s n + h2."""
        return -self.lower / (self.up - self.down), self.upper / (self.up - self.down)


def llr(design: Design, requests: int, failures: int, *, effect: float = 1.0) -> float:
    """Return the log-likelihood ratio of `failures` in `requests`.

    effect: the design effect; correlated requests count as requests/effect independent ones.
    """
    return (failures * design.up + (requests - failures) * design.down) / effect


def decide(design: Design, requests: int, failures: int, *, effect: float = 1.0) -> Decision:
    """Say what the counts prove."""
    found = llr(design, requests, failures, effect=effect)
    if found >= design.upper:
        return Decision.REJECT
    return Decision.ACCEPT if found <= design.lower else Decision.CONTINUE


def accepts_from(design: Design, failures: int) -> int:
    """Return the smallest number of requests at which so many failures are accepted."""
    return max(failures, failures + math.ceil((design.lower - failures * design.up) / design.down))


def rejects_to(design: Design, failures: int) -> int | None:
    """Return the largest number of requests at which so many failures are rejected, if any is."""
    most = failures + math.floor((design.upper - failures * design.up) / design.down)
    return most if most >= failures else None


def progress(design: Design, found: float) -> float:
    """Place a log-likelihood ratio between the bounds: -1 accepts, 0 knows nothing, 1 rejects."""
    return found / design.upper if found >= 0 else -found / design.lower


def expected_requests(design: Design, rate: float, *, found: float = 0.0) -> float:
    """Return Wald's average sample number at a true rate, from a ratio that was reached already.

    Neglects overshoot, so it is a little low; the number is of independent requests.
    """
    if not design.lower < found < design.upper:
        return 0.0
    above, below = design.upper - found, design.lower - found
    drift = rate * design.up + (1 - rate) * design.down
    power = _power(design, rate)
    if abs(power) < 1e-9:
        return -above * below / (rate * design.up**2 + (1 - rate) * design.down**2)
    # With h: E[exp(h LLR)] = 1, the chance to reject is (1 - e^(hB)) / (e^(hA) - e^(hB)).
    rejects = _chance(power, above, below)
    return (rejects * above + (1 - rejects) * below) / drift


def _chance(power: float, above: float, below: float) -> float:
    """Return the chance to leave through the upper bound, without overflow."""
    if power > 0:
        shrink = math.exp(-power * above)
        return shrink * -math.expm1(power * below) / -math.expm1(power * (below - above))
    return math.expm1(-power * below) / math.expm1(power * (above - below))


def _power(design: Design, rate: float) -> float:
    """Solve rate (p1/p0)^h + (1-rate) ((1-p1)/(1-p0))^h = 1 for the h that is not 0."""

    def excess(h: float) -> float:
        return rate * math.expm1(h * design.up) + (1 - rate) * math.expm1(h * design.down)

    rising = rate * design.up + (1 - rate) * design.down > 0
    far, near = (-1.0, -1e-12) if rising else (1.0, 1e-12)
    # At rates of 0 and 1 there is none; the search ends before exp() overflows.
    while excess(far) < 0 and abs(far) * (design.up - design.down) < 300:
        far *= 2
    for _ in range(200):
        middle = (far + near) / 2
        far, near = (middle, near) if excess(middle) > 0 else (far, middle)
    return (far + near) / 2


@dataclass(frozen=True, slots=True)
class Characteristic:
    """How a truncated test ends at one true rate: probabilities, and the mean number of requests.

    leaning: the part of `undecided` whose ratio is above 0, towards rejecting.
    """

    rejects: float
    accepts: float
    undecided: float
    leaning: float
    mean_requests: float


@lru_cache(maxsize=256)
def characteristic(design: Design, rate: float, most: int) -> Characteristic:
    """Compute exactly how the test that stops after `most` requests ends."""
    alive, first, rejects, accepts, mean = [1.0], 0, 0.0, 0.0, 0.0
    for step in islice(_walk(design, rate), most):
        alive, first = step.alive, step.first
        rejects, accepts, mean = step.rejects, step.accepts, step.mean
    leaning = sum(mass for k, mass in enumerate(alive, first) if llr(design, most, k) > 0)
    return Characteristic(rejects, accepts, sum(alive), leaning, mean)


@lru_cache(maxsize=256)
def horizon(design: Design, *, undecided: float = 0.01) -> int:
    """Return the fewest requests after which the test is undecided at p0 and p1 that seldom.

    Between p0 and p1 it stays undecided for longer: that is what a limit on time is for. `LONGEST`
    means as many or more: refuse such a pair of rates.
    """
    if expected_requests(design, design.indifferent) > LONGEST / 2:
        return LONGEST
    walks = zip(_walk(design, design.p0), _walk(design, design.p1), strict=True)
    for requests, (fine, bad) in enumerate(islice(walks, LONGEST), start=1):
        if max(sum(fine.alive), sum(bad.alive)) <= undecided:
            return requests
    return LONGEST


@lru_cache(maxsize=256)
def requests_to_detect(design: Design, rate: float, *, chance: float = 0.95) -> int:
    """Return the fewest requests within which a true rate is rejected with this chance."""
    for requests, step in enumerate(islice(_walk(design, rate), LONGEST), start=1):
        if step.rejects >= chance:
            return requests
        if step.accepts > 1 - chance:
            raise ValueError(
                f"a rate of {rate:.2%} is not found with a chance of {chance:.0%}: the test"
                f" accepts it too often. Ask for a rate further above {design.p1:.2%}"
            )
    raise ValueError(
        f"rates {design.p0} and {design.p1} need more than {LONGEST:,} requests to be told apart:"
        " move them apart, or allow a larger alpha or beta"
    )


@dataclass(slots=True)
class _Step:
    """The walk after some requests: probabilities of `first`, `first`+1, ... failures."""

    alive: list[float]
    first: int
    rejects: float = 0.0
    accepts: float = 0.0
    mean: float = 0.0


def _walk(design: Design, rate: float) -> Iterator[_Step]:
    """Walk through (requests, failures) by exact dynamic programming, request by request.

    Only the strip between the two lines is kept, a dozen numbers wide for usual designs.
    """
    at = _Step([1.0], 0)
    h1, h2, slope = *design.lines, design.indifferent
    for requests in count(1):
        at.mean += sum(at.alive)
        fails = [mass * rate for mass in at.alive]
        passes = [mass * (1 - rate) for mass in at.alive]
        alive = [a + b for a, b in zip([*passes, 0.0], [0.0, *fails], strict=True)]
        low, high = slope * requests - h1, slope * requests + h2
        while alive and at.first <= low:
            at.accepts += alive.pop(0)
            at.first += 1
        while alive and at.first + len(alive) - 1 >= high:
            at.rejects += alive.pop()
        at.alive = alive
        yield at
