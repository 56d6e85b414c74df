"""Thousands of simulated rollouts: how often our tests and a threshold rule decide wrongly.

The decisions are the product's (`distill_operator.statistics`); only traffic is simulated, with the
default schedule: steps of 5, 10, 25, 50 and 100 %, evidence of errors and quality kept across
them. The threshold rule looks once a minute and rolls back when more than 1 % of that minute's
requests failed, as a canary controller with failureLimit 0 does.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
import rollout_scenarios as scenarios
from distill_operator.statistics import budget, comparison, quality, rate, sprt
from distill_operator.statistics.comparison import Arm
from distill_operator.statistics.verdict import Verdict, both
from rollout_scenarios import Scenario, Seen

STEPS = (0.05, 0.10, 0.25, 0.50, 1.00)
CAREFUL = 2
"""The last steps, which are left only when every metric is proven healthy."""
SOAK_MINUTES = 15
ALPHA, BETA = 0.01, 0.05
WEIGHTS = {"errors": 0.4, "latency": 0.2, "quality": 0.3, "cost": 0.1}
DEADLINE_MINUTES = 24 * 60
LOOK_MINUTES = 5
"""Between looks, after five of a minute each. The operator looks every few seconds; the tests keep
their errors for any schedule of looks."""
MOST_STUDENT = 0.999
"""At 100 % the teacher is kept warm with a thousandth."""
NAIVE_LIMIT = 0.01


@dataclass(frozen=True, slots=True)
class Rules:
    """The tests of a rollout with the default policy."""

    errors: rate.Rule
    latency: rate.Rule
    scores: quality.Rule
    minimum: int


@dataclass(slots=True)
class Rollout:
    """One rollout under way."""

    step: int = 0
    since: int = 0
    requests: int = 0
    at_step: int = 0
    errors: rate.State = field(default_factory=rate.State)
    latency: rate.State = field(default_factory=rate.State)
    scores: quality.State = field(default_factory=quality.State)
    ended: str = ""
    minutes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """How the rollouts of one scenario ended: shares, means of the student's requests and time."""

    student: str
    good: bool
    promoted: float
    rolled_back: float
    undecided: float
    requests: float
    minutes: float
    threshold_rolled_back: float


def rules(*, fine: float = 0.98, limit: float = 0.95) -> Rules:
    """Return the default policy; fine, limit: of paired quality."""
    alphas, each = budget.alphas(ALPHA, WEIGHTS), budget.beta_each(BETA, 3)
    errors = sprt.Design(0.005, 0.01, alphas["errors"], each, ville=True)
    of_step = budget.alpha_of_step(alphas["latency"], len(STEPS))
    latency = sprt.Design(0.03, 0.05, of_step, each, ville=True)
    return Rules(
        rate.Rule("errors", "failed", errors, comparison.Design(2, errors.alpha, each)),
        rate.Rule("latency", "were slow", latency, comparison.Design(2, of_step, each)),
        quality.Rule("quality", "score", fine, limit, alphas["quality"], each),
        sprt.requests_to_detect(errors, 5 * errors.p1),
    )


def run(told: Scenario, policy: Rules, count: int, seed: int) -> Row:
    """Simulate the rollouts of one scenario, all in step."""
    rng = np.random.default_rng(seed)
    later = LOOK_MINUTES if told.per_second >= 5 else 2 * LOOK_MINUTES
    all_rollouts = [Rollout() for _ in range(count)]
    under_way, minute = all_rollouts, 0
    while under_way and minute < DEADLINE_MINUTES:
        stride = 1 if minute < LOOK_MINUTES else later
        weights = np.array([min(STEPS[r.step], MOST_STUDENT) for r in under_way])
        seen = scenarios.look(told, minute, weights, stride, rng)
        for rollout, counts, pairs in zip(under_way, _counts(seen), _pairs(seen), strict=True):
            _look(rollout, policy, minute, counts, pairs)
            _move(rollout, policy, minute + stride)
        under_way = [r for r in under_way if not r.ended]
        minute += stride
    return _row(told, all_rollouts, _naive(told, count, rng))


def measure(count: int = 2000, seed: int = 1) -> list[Row]:
    """Run every scenario `count` times."""
    policy, told = rules(), scenarios.SCENARIOS
    return [run(scenario, policy, count, seed + n) for n, scenario in enumerate(told)]


def table(rows: Sequence[Row]) -> str:
    """Write a Markdown table, a row for each scenario."""
    head = (
        "student | should be | wrongly rolled back | missed | undecided"
        " | student requests | minutes | the threshold rule rolls back"
    )
    return "\n".join([f"| {head} |", "|---" * 8 + "|", *map(_line, rows)])


def _look(
    rollout: Rollout, policy: Rules, minute: int, counts: Sequence[int], pairs: list[quality.Pair]
) -> None:
    """Feed one look to the three metrics."""
    student, teacher, failed, teacher_failed, slow, teacher_slow = counts
    rollout.requests += student
    rollout.at_step += student
    at = 60.0 * minute
    rollout.errors = rate.add(
        rollout.errors, at, Arm(student, failed), Arm(teacher, teacher_failed), policy.errors
    )
    rollout.latency = rate.add(
        rollout.latency, at, Arm(student, slow), Arm(teacher, teacher_slow), policy.latency
    )
    rollout.scores = quality.add(rollout.scores, pairs, policy.scores)


def _move(rollout: Rollout, policy: Rules, minute: int) -> None:
    """Decide as the operator would: back, on, or wait."""
    verdict = _verdict(rollout, policy)
    rollout.minutes = minute
    if verdict is Verdict.REGRESSED:
        rollout.ended = "rolled back"
        return
    soaked = minute - rollout.since >= SOAK_MINUTES and rollout.at_step >= policy.minimum
    careful = rollout.step >= len(STEPS) - CAREFUL
    fault = verdict is Verdict.ENVIRONMENT_FAULT
    if not soaked or fault or (careful and verdict is not Verdict.HEALTHY):
        return
    if rollout.step == len(STEPS) - 1:
        rollout.ended = "promoted"
        return
    # Latency depends on load: its evidence begins anew at each step.
    rollout.step, rollout.since, rollout.at_step = rollout.step + 1, minute, 0
    rollout.latency = rate.State()


def _verdict(rollout: Rollout, policy: Rules) -> Verdict:
    decision, errors = rate.decide(rollout.errors, policy.errors)
    rollout.errors = rate.after(rollout.errors, policy.errors, decision, errors)
    decision, latency = rate.decide(rollout.latency, policy.latency)
    rollout.latency = rate.after(rollout.latency, policy.latency, decision, latency)
    kept = quality.decide(rollout.scores, policy.scores)
    rollout.scores = quality.after(rollout.scores, policy.scores)
    return both(both(errors, latency), kept)


def _counts(seen: Seen) -> Iterator[Sequence[int]]:
    columns = (
        seen.student,
        seen.teacher,
        seen.student_failures,
        seen.teacher_failures,
        seen.student_slow,
        seen.teacher_slow,
    )
    return zip(*(column.tolist() for column in columns), strict=True)


def _pairs(seen: Seen) -> Iterable[list[quality.Pair]]:
    both_arms = np.stack([seen.student_scores, seen.teacher_scores], axis=-1)
    return (list(map(tuple, pairs)) for pairs in both_arms.tolist())


def _naive(told: Scenario, count: int, rng: np.random.Generator) -> float:
    """Return the share of rollouts that the threshold rule rolls back."""
    failed = np.zeros(count, dtype=bool)
    for minute in range(SOAK_MINUTES * len(STEPS)):
        weights = np.full(count, STEPS[minute // SOAK_MINUTES])
        seen = scenarios.look(replace(told, pairs=0), minute, weights, 1, rng)
        failed |= seen.student_failures > NAIVE_LIMIT * seen.student
    return float(failed.mean())


def _row(told: Scenario, done: list[Rollout], threshold: float) -> Row:
    ends = [r.ended for r in done]
    return Row(
        told.name,
        told.good,
        ends.count("promoted") / len(ends),
        ends.count("rolled back") / len(ends),
        ends.count("") / len(ends),
        fmean(r.requests for r in done),
        fmean(r.minutes for r in done),
        threshold,
    )


def _line(row: Row) -> str:
    wrong = (f"{row.rolled_back:.2%}", "") if row.good else ("", f"{row.promoted:.2%}")
    cells = [
        row.student,
        "promoted" if row.good else "rolled back",
        *wrong,
        f"{row.undecided:.2%}",
        f"{row.requests:,.0f}",
        f"{row.minutes:.0f}",
        f"{row.threshold_rolled_back:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print the table; an argument gives the number of rollouts of each scenario."""
    began = time.monotonic()
    print(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)))
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
