"""Sample ratio mismatch: whether traffic is split as the weights say.

The Dirichlet-multinomial e-value of Lindon and Malek (NeurIPS 2022): valid at every look.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONCENTRATION = 100.0
"""Of the Dirichlet prior around the configured shares: deviations of a few percent are expected."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a split is called wrong: after so many requests, from such an e-value on."""

    requests: int = 500
    e_value: float = 1000.0


def log_e_value(
    counts: Sequence[int], shares: Sequence[float], *, concentration: float = CONCENTRATION
) -> float:
    """Return the log of the evidence against the shares.

    counts: completed requests of each arm since the weights were set; shares: their weights, of
    any sum. Traffic to an arm of weight 0 is infinite evidence.
    """
    weights, total = list(shares), sum(shares)
    if len(weights) != len(counts) or total <= 0 or min(weights) < 0:
        raise ValueError(
            f"{len(counts)} counts and shares {weights} do not match: expected one share for each"
            " arm, none below 0 and not all 0"
        )
    found = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for seen, weight in zip(counts, weights, strict=True):
        share = weight / total
        if share == 0 and seen:
            return math.inf
        if share:
            prior = concentration * share
            found += math.lgamma(prior + seen) - math.lgamma(prior) - seen * math.log(share)
    return found


def p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return min(1, 1/E); the least over all looks is a valid p-value too."""
    return min(1.0, math.exp(-log_e_value(counts, shares)))


def mismatch(counts: Sequence[int], shares: Sequence[float], rule: Rule = Rule()) -> bool:
    """Say whether the measured split contradicts the configured one."""
    enough = sum(counts) >= rule.requests
    return enough and log_e_value(counts, shares) > math.log(rule.e_value)
