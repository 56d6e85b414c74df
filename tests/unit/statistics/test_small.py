"""The split of traffic, the budget of errors, and bursts."""

import math
from collections.abc import Iterable

import pytest
from distill_operator.statistics import budget, confidence, dispersion, split
from distill_operator.statistics.confidence import Interval
from distill_operator.statistics.dispersion import Clock, Minutes

SPLITS: list[tuple[str, tuple[int, int], tuple[float, float], bool]] = [
    ("as configured", (950, 50), (95, 5), False),
    ("too few to tell", (0, 499), (95, 5), False),
    ("all to the wrong arm", (0, 500), (95, 5), True),
    ("half and half instead of 95 to 5", (500, 500), (95, 5), True),
    ("a little off, as keep-alive does", (9420, 580), (95, 5), False),
    ("traffic to an arm of weight 0", (999, 1), (100, 0), True),
    ("none to an arm of weight 0", (1000, 0), (100, 0), False),
]


@pytest.mark.parametrize(("why", "counts", "weights", "found"), SPLITS, ids=[c[0] for c in SPLITS])
def test_a_split(*, why: str, counts: tuple[int, int], weights: tuple[float, float], found: bool):
    assert split.mismatch(counts, weights) is found


@pytest.mark.parametrize("shares", [(1.0,), (0.0, 0.0), (1.0, -1.0)])
def test_shares_that_are_none(shares: tuple[float, ...]):
    with pytest.raises(ValueError, match="one share for each arm"):
        split.log_e_value((1, 2), shares)


def test_alpha_is_divided_by_weight():
    weights = {"errors": 4, "latency": 2, "quality": 3, "cost": 1}
    told = budget.alphas(0.01, weights)
    assert told == pytest.approx(
        {"errors": 0.004, "latency": 0.002, "quality": 0.003, "cost": 0.001}
    )
    assert budget.alpha_of_step(told["latency"], 5) == pytest.approx(0.0004)
    assert budget.beta_each(0.05, 4) == 0.0125
    assert budget.beta_each(0.05, 0) == 0.05


@pytest.mark.parametrize(
    ("alpha", "weights"), [(0.5, {"a": 1}), (0.01, {"a": -1, "b": 2}), (0.01, {"a": 0})]
)
def test_alpha_that_cannot_be_divided(alpha: float, weights: dict[str, float]):
    with pytest.raises(ValueError, match="no weight below 0 and one above"):
        budget.alphas(alpha, weights)


def test_all_rounds_together_spend_alpha():
    spent = math.fsum(budget.alpha_of_round(0.01, ended) for ended in range(10_000))
    # After so many rounds 0.2 x 0.01 / 10,000 is left.
    assert spent == pytest.approx(0.01 - 2e-7, abs=1e-9)


def clock_of(counts: Iterable[tuple[int, int]]) -> Clock:
    """Count minutes, of which the last is under way."""
    clock = Clock()
    for minute, (requests, failures) in enumerate(counts):
        clock = dispersion.add(clock, 60.0 * minute, (requests, failures), limit=0.01)
    return clock


def look(clock: Clock, at: float, requests: int, failures: int) -> Clock:
    return dispersion.add(clock, at, (requests, failures), limit=0.01)


def test_bursts_have_an_effect_and_even_failures_have_none():
    even = clock_of([(600, 3)] * 21).before
    bursts = clock_of(([(600, 0)] * 9 + [(600, 30)]) * 2 + [(600, 0)]).before
    assert dispersion.effect(even) == 1.0
    # p = .005; squares 2 x 27^2 + 18 x 3^2 = 1620; 1620 x 20/19 / (60 x .995) = 28.56
    assert dispersion.effect(bursts) == dispersion.MOST


def test_the_effect_is_the_variance_between_minutes_over_the_binomial_one():
    found = dispersion.effect(clock_of([(100, 10), (100, 0)] * 6 + [(100, 0)]).before)
    # p = .05; squares 12 x 25 = 300; 300 x 12/11 / (60 x .95) = 5.7416
    assert found == pytest.approx(5.7416, abs=1e-4)


def test_more_traffic_means_longer_bursts():
    steady = clock_of([(100, 6), (100, 0)] * 30 + [(100, 0)]).before
    grown = clock_of([(100, 6), (100, 0)] * 30 + [(400, 4), (400, 4)]).before
    assert dispersion.effect(grown) > 2 * dispersion.effect(steady)


@pytest.mark.parametrize(
    "counts", [[(600, 30)] * 9, [(600, 0)] * 40 + [(600, 4)], [(600, 600)] * 20, []]
)
def test_too_little_tells_no_effect(counts: list[tuple[int, int]]):
    assert dispersion.effect(clock_of([*counts, (1, 0)]).before) == 1.0


def test_a_minute_counts_once_it_is_over_and_empty_ones_never():
    clock = look(look(Clock(), 60, 10, 0), 119, 10, 0)
    assert clock.before == Minutes()
    clock = look(clock, 120, 0, 0)
    assert clock.before == Minutes(1, 20, 0, 400, 0, 0, 20)
    assert look(clock, 180, 5, 0).before == clock.before


def test_a_clock_that_jumps_back_loses_nothing():
    clock = look(look(Clock(), 600, 10, 1), 60, 5, 1)
    assert (clock.minute, clock.requests, clock.failures) == (10, 15, 2)


GOOD = [(600, 1)] * 20


def test_one_bad_minute_is_a_burst_and_two_in_a_row_are_a_fault():
    burst, fault = (
        clock_of([*GOOD, (600, 60), (1, 0)]),
        clock_of([*GOOD, (600, 60), (600, 60), (1, 0)]),
    )
    assert dispersion.estimate(burst) == dispersion.MOST
    assert dispersion.estimate(fault) == 1.0
    # Once it is over it was a burst after all, of two minutes.
    over = clock_of([*GOOD, (600, 60), (600, 60), (600, 1), (1, 0)])
    assert dispersion.estimate(over) == dispersion.MOST
    assert (over.row, over.before.minutes) == (Minutes(), 23)


def test_a_fault_of_the_environment_is_forgotten():
    clock = dispersion.skip(clock_of([*GOOD, (600, 60), (600, 60)]))
    assert clock == Clock(21, before=clock_of([*GOOD, (1, 0)]).before)


def test_without_a_request_every_rate_is_possible():
    assert confidence.of_rate(0, 0, alpha=0.05) == Interval(0, 1)
    assert confidence.of_rate(5, 5, alpha=0.05).high == 1
    assert confidence.half_width(1, 0.1, alpha=0.05, planned=100) == math.inf


def test_bursts_widen_the_interval():
    alone = confidence.of_rate(1000, 10, alpha=0.05)
    together = confidence.of_rate(1000, 10, alpha=0.05, effect=4)
    assert together == confidence.of_rate(250, 2.5, alpha=0.05)
    assert together.low < alone.low < alone.high < together.high
