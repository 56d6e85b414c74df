"""The evidence of one rate, kept over a whole rollout as a row of sequential tests.

A test that found the student fine begins anew. Otherwise the credit of a long good time would have
to be used up before a sudden fault shows: after a million requests of which 0.2 % failed, ten
thousand more of which half fail. With new rounds some sixty are enough, a number that grows with
the logarithm of the rounds only. Each round has its own part of alpha (`budget.alpha_of_round`),
so all rounds together keep it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from distill_operator.statistics import budget, sprt


@dataclass(frozen=True, slots=True)
class Trial:
    """Counts of the round under way, of all rounds, and whether one of them ended well.

    rounds: that have ended. accepted: requests of all rounds when the student was last found
    fine, or None.
    """

    requests: int = 0
    failures: int = 0
    rounds: int = 0
    accepted: int | None = None
    all_requests: int = 0
    all_failures: int = 0


def add(trial: Trial, requests: int, failures: int) -> Trial:
    """Take in the counts of one look."""
    if not 0 <= failures <= requests:
        raise ValueError(
            f"{failures} failures of {requests} requests: expected none below 0 and no more"
            " failures than requests. Read both counters at the same time"
        )
    return Trial(
        trial.requests + requests,
        trial.failures + failures,
        trial.rounds,
        trial.accepted,
        trial.all_requests + requests,
        trial.all_failures + failures,
    )


def design_of_round(design: sprt.Design, trial: Trial) -> sprt.Design:
    """Return the design of the round under way: the same rates, this round's part of alpha."""
    return _of_round(design, trial.rounds)


@lru_cache(maxsize=1024)
def _of_round(design: sprt.Design, rounds: int) -> sprt.Design:
    return replace(design, alpha=budget.alpha_of_round(design.alpha, rounds))


def decide(trial: Trial, design: sprt.Design, *, effect: float = 1.0) -> sprt.Decision:
    """Say what the round under way proves."""
    current = design_of_round(design, trial)
    return sprt.decide(current, trial.requests, trial.failures, effect=effect)


def settle(trial: Trial, design: sprt.Design, *, effect: float = 1.0) -> Trial:
    """End the round if it found the student fine; leave everything else as it is."""
    if decide(trial, design, effect=effect) is sprt.Decision.ACCEPT:
        return _anew(trial, accepted=trial.all_requests)
    return trial


def renew(trial: Trial) -> Trial:
    """End the round without a finding: its counts were the environment's fault."""
    return _anew(trial, accepted=trial.accepted)


def _anew(trial: Trial, *, accepted: int | None) -> Trial:
    return Trial(0, 0, trial.rounds + 1, accepted, trial.all_requests, trial.all_failures)
