"""How the error rates of a rollout are divided among its tests.

Rollback is an OR of tests, so alpha is shared out (a union bound, valid under any dependence).
Promotion is an AND, so alpha needs no correction but power multiplies: beta is divided
(Schultzberg et al., arXiv 2402.11609).
"""

import math
from collections.abc import Mapping

FIRST_ROUND = 0.8
"""The share of a test's alpha for its first round; the rest is for all that may follow."""


def alphas(alpha: float, weights: Mapping[str, float]) -> dict[str, float]:
    """Divide alpha among rollback tests by weight; the weights may have any sum.

    A weight of 0 gives no alpha: such a metric is reported and never rolls back.
    """
    total = math.fsum(weights.values())
    if not 0 < alpha < 0.5 or any(w < 0 for w in weights.values()) or (weights and total <= 0):
        raise ValueError(
            f"alpha {alpha} cannot be divided by weights {dict(weights)}: expected alpha between 0"
            " and 0.5, no weight below 0 and one above"
        )
    return {name: alpha * weight / total for name, weight in weights.items()}


def beta_each(beta: float, tests: int) -> float:
    """Return beta of each of the tests that a promotion needs."""
    return beta / max(1, tests)


def alpha_of_step(alpha: float, steps: int) -> float:
    """Return alpha of one step for a metric that starts anew at each, as latency does."""
    return alpha / max(1, steps)


def alpha_of_round(alpha: float, ended: int) -> float:
    """Return alpha of the round that follows `ended` earlier ones of the same test.

    A test that found the student fine begins anew, or a long good time would hide a sudden fault.
    Shares: 0.8, then 0.2/(m(m+1)), which sum to 1 over infinitely many rounds.
    """
    if ended == 0:
        return alpha * FIRST_ROUND
    return alpha * (1 - FIRST_ROUND) / (ended * (ended + 1))
