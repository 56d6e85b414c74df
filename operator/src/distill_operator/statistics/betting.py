"""Betting e-processes on paired, bounded quality scores (Waudby-Smith and Ramdas, 2021).

The same prompt goes to both arms. With r the ratio in question and scores s, t in [0, 1],
X = (s - r t + r)/(1 + r) lies in [0, 1], and E[X] > r/(1+r) exactly if E[s] > r E[t]. The wealth of
a gambler who bets on that, with stakes from the past only, is an e-process: reaching 1/alpha
proves it. What is compared is the ratio of means, not the mean of ratios.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

BOLDNESS = 0.5
"""c: a stake of at most c/m keeps the wealth above (1-c) of itself at every bet."""
FAR = 50_000
"""Pairs after which a prediction gives up."""


class Direction(StrEnum):
    """What the gambler tries to prove."""

    ABOVE = "Above"
    BELOW = "Below"


@dataclass(frozen=True, slots=True)
class Bet:
    """What is bet on: that E[s]/E[t] is above, or below, `ratio`. alpha sets the stakes."""

    ratio: float
    direction: Direction
    alpha: float

    def __post_init__(self) -> None:
        if self.ratio <= 0 or not 0 < self.alpha < 1:
            raise ValueError(
                f"a bet on ratio {self.ratio} with alpha {self.alpha}: expected a ratio above 0"
                " and alpha between 0 and 1"
            )

    @property
    def fair(self) -> float:
        """m: the mean of X at which the game is fair."""
        scale = 1 + self.ratio
        return self.ratio / scale if self.direction is Direction.ABOVE else 1 / scale

    def values(self, pairs: Iterable[tuple[float, float]]) -> list[float]:
        """Return X of pairs of scores (student, teacher), turned round for a bet on below."""
        ratio, scale, above = self.ratio, 1 + self.ratio, self.direction is Direction.ABOVE
        found = []
        for student, teacher in pairs:
            if not (0 <= student <= 1 and 0 <= teacher <= 1):
                raise ValueError(
                    f"scores {student} and {teacher} of a pair: expected both between 0 and 1."
                    " Scale the measure, or leave the pair out"
                )
            x = (student - ratio * teacher + ratio) / scale
            found.append(x if above else 1 - x)
        return found


@dataclass(frozen=True, slots=True)
class Wealth:
    """A gambler's state: what went in, and the log of what became of 1."""

    pairs: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_wealth: float = 0.0


def play(wealth: Wealth, xs: Iterable[float], *, fair: float, alpha: float) -> Wealth:
    """Bet on each value of X in turn; in pieces or in one go, the result is the same."""
    pairs, total, squares, logged = wealth.pairs, wealth.total, wealth.squares, wealth.log_wealth
    spent, most = _stakes(fair, alpha)
    for x in xs:
        logged += math.log1p(_stake(pairs, squares, spent, most) * (x - fair))
        pairs += 1
        total += x
        squares += (x - (0.5 + total) / (pairs + 1)) ** 2
    return Wealth(pairs, total, squares, logged)


def bet(wealth: Wealth, pairs: Iterable[tuple[float, float]], on: Bet) -> Wealth:
    """Bet on pairs of scores, (student, teacher)."""
    return play(wealth, on.values(pairs), fair=on.fair, alpha=on.alpha)


def bound(alpha: float) -> float:
    """Return the log-wealth that proves what was bet on."""
    return -math.log(alpha)


def pairs_to_decide(wealth: Wealth, on: Bet, *, log_bound: float) -> int | None:
    """Predict how many more pairs bring the wealth to its bound if the mean stays as it is.

    None: it never will, or not within 50,000 pairs.
    """
    if wealth.pairs < 2:
        return None
    mean = wealth.total / wealth.pairs
    variance = wealth.squares / wealth.pairs
    gain, at, stride = mean - on.fair, wealth, 1
    spent, most = _stakes(on.fair, on.alpha)
    while at.log_wealth < log_bound:
        stake = _stake(at.pairs, at.squares, spent, most)
        # E[ln(1 + stake (X - m))] up to its second order.
        growth = stake * gain - stake**2 * (variance + gain**2) / 2
        more = at.pairs + stride
        at = replace(
            at,
            pairs=more,
            squares=at.squares + stride * variance,
            log_wealth=at.log_wealth + stride * growth,
        )
        if gain <= 0 or more > FAR:
            return None
        stride = max(1, at.pairs // 100)
    return at.pairs - wealth.pairs


def _stakes(fair: float, alpha: float) -> tuple[float, float]:
    """Return what all stakes of a game share: 2 ln(1/alpha), and the most that is staked."""
    return 2 * math.log(1 / alpha), BOLDNESS / fair


def _stake(pairs: int, squares: float, spent: float, most: float) -> float:
    """Return the predictable plug-in stake of the next bet, from past pairs only.

    sqrt(2 ln(1/alpha) / (variance t ln(t+1))), where variance t = 1/4 + the sum of squares.
    """
    bold = math.sqrt(spent / ((0.25 + squares) * math.log(pairs + 2)))
    return bold if bold < most else most  # noqa: FURB136 - min() takes a third of the time of a bet
