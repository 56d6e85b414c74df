"""The student against the teacher at the same time: a conditional binomial test.

Given that a request failed, it was the student's with probability w RR/(w RR + 1 - w), where w is
the student's share of the completed requests and RR the ratio of failure rates. Whatever hits both
arms alike (a shared database, the gateway, a burst of bad requests) cancels out.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from distill_operator.statistics import budget, sprt


@dataclass(frozen=True, slots=True)
class Design:
    """H0: the student fails as often as the teacher; H1: `ratio` times as often."""

    ratio: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        if self.ratio <= 1 or not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(
                f"ratio {self.ratio}, alpha {self.alpha}, beta {self.beta}: expected a ratio above"
                " 1, and alpha and beta between 0 and 0.5"
            )

    @property
    def upper(self) -> float:
        """The log-likelihood ratio from which the student is worse: Ville's bound."""
        return -math.log(self.alpha)

    @property
    def lower(self) -> float:
        """The log-likelihood ratio down to which it is not."""
        return math.log(self.beta / (1 - self.alpha))


@dataclass(frozen=True, slots=True)
class Arm:
    """What one arm completed, and how much of it failed, between two looks."""

    requests: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Contest:
    """The log-likelihood ratio of the round under way, and the failures of all rounds."""

    llr: float = 0.0
    rounds: int = 0
    accepted: bool = False
    student_failures: int = 0
    teacher_failures: int = 0


def chance(share: float, ratio: float) -> float:
    """Return the probability that a failed request was the student's."""
    return share * ratio / (share * ratio + 1 - share)


def fixed(share: float, design: Design) -> sprt.Design:
    """Return the test at a share that does not change, as an ordinary test of a rate.

    For expected numbers of failures: a request there is a failure here.
    """
    return sprt.Design(share, chance(share, design.ratio), design.alpha, design.beta)


def add(contest: Contest, student: Arm, teacher: Arm, design: Design) -> Contest:
    """Take in one look, at the share that was measured between it and the one before.

    Without requests of both arms, failures compare with nothing and are left out.
    """
    if not student.requests or not teacher.requests:
        return contest
    share = student.requests / (student.requests + teacher.requests)
    worse = chance(share, design.ratio)
    gained = student.failures * math.log(worse / share)
    gained += teacher.failures * math.log((1 - worse) / (1 - share))
    return Contest(
        contest.llr + gained,
        contest.rounds,
        contest.accepted,
        contest.student_failures + student.failures,
        contest.teacher_failures + teacher.failures,
    )


def design_of_round(design: Design, contest: Contest) -> Design:
    """Return the design of the round under way: the same ratio, this round's part of alpha."""
    return _of_round(design, contest.rounds)


@lru_cache(maxsize=1024)
def _of_round(design: Design, rounds: int) -> Design:
    return replace(design, alpha=budget.alpha_of_round(design.alpha, rounds))


def decide(contest: Contest, design: Design, *, effect: float = 1.0) -> sprt.Decision:
    """Say whether the student fails more often than the teacher."""
    current, found = design_of_round(design, contest), contest.llr / effect
    if found >= current.upper:
        return sprt.Decision.REJECT
    return sprt.Decision.ACCEPT if found <= current.lower else sprt.Decision.CONTINUE


def settle(contest: Contest, design: Design, *, effect: float = 1.0) -> Contest:
    """Begin a new round if the student is no worse, so that a later change shows soon."""
    if decide(contest, design, effect=effect) is sprt.Decision.ACCEPT:
        return replace(renew(contest), accepted=True)
    return contest


def renew(contest: Contest) -> Contest:
    """End the round without a finding."""
    return replace(contest, llr=0.0, rounds=contest.rounds + 1)


def exonerates(student: sprt.Decision, teacher: sprt.Decision, contest: sprt.Decision) -> bool:
    """Say whether the environment is at fault: both arms fail, and the student no more often.

    student, teacher: of the absolute test of each arm; contest: of one against the other.
    """
    both = student is sprt.Decision.REJECT and teacher is sprt.Decision.REJECT
    return both and contest is not sprt.Decision.REJECT
