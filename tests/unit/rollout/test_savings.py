"""What a student saves, by the guide's formulas."""

import pytest
from distill_api.outcome import Prices
from distill_operator.plan.rollout import savings


def test_savings_and_break_even_follow_the_guide() -> None:
    prices = Prices(
        currency="EUR",
        teacher_million_requests=3,
        student_million_requests=1,
        daily_requests=1_000_000,
    )
    found = savings.of(prices, job_cost=30)
    assert found is not None
    assert (found.currency, found.per_day, found.break_even_days) == ("EUR", "2", "15")
    assert float(found.share) == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize(
    "prices",
    [
        Prices(),
        Prices(teacher_million_requests=3),
        Prices(student_million_requests=1),
        Prices(teacher_million_requests=0, student_million_requests=0),
    ],
)
def test_without_both_prices_nothing_is_claimed(prices: Prices) -> None:
    assert savings.of(prices, job_cost=30) is None


def test_a_student_that_costs_more_saves_a_negative_share_and_never_pays_off() -> None:
    dear = Prices(teacher_million_requests=1, student_million_requests=2, daily_requests=1_000_000)
    found = savings.of(dear, job_cost=30)
    assert found is not None
    assert (found.share, found.per_day, found.break_even_days) == ("-1", "-1", None)


def test_without_a_number_of_requests_the_share_is_told_alone() -> None:
    found = savings.of(Prices(teacher_million_requests=4, student_million_requests=1), None)
    assert found is not None
    assert (found.share, found.per_day, found.break_even_days) == ("0.75", None, None)
