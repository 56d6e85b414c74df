"""Cost is a sum of what was watched: when it is told, and in which words."""

from dataclasses import replace

import pytest
from distill_operator.statistics import saving, words
from distill_operator.statistics.saving import Prices, Rule, Watched
from distill_operator.statistics.verdict import Forecast, Verdict

DAY = 86_400
RULE = Rule("cost", least=0.5, window=DAY, prices=Prices("EUR", teacher=250, student=50))
WHOLE = Watched(12_000, DAY)


def test_before_the_window_has_passed_nothing_is_decided() -> None:
    finding = saving.judge(Watched(1500, 10_800), RULE, per_second=0.5)
    assert (finding.verdict, finding.warn) == (Verdict.UNDECIDED, False)
    assert finding.forecast == Forecast(37_800, 75_600)
    assert words.explain(finding) == (
        "cost: in 3.0 h 1,500 requests of the student cost 0.075 EUR instead of 0.38 EUR at the"
        " given prices: 80 % saved. Undecided until 24.0 h were watched, 21.0 h more; at least"
        " 50 % is asked for."
    )


def test_afterwards_the_sum_decides() -> None:
    good = saving.judge(WHOLE, RULE)
    assert (good.verdict, good.forecast) == (Verdict.HEALTHY, None)
    assert words.explain(good) == (
        "cost: in 24.0 h 12,000 requests of the student cost 0.6 EUR instead of 3.00 EUR at the"
        " given prices: 80 % saved. Healthy: at least 50 % is asked for."
    )
    bad = saving.judge(WHOLE, replace(RULE, least=0.9))
    assert bad.verdict is Verdict.REGRESSED
    assert words.explain(bad).endswith("80 % saved. Regressed: at least 90 % is asked for.")


@pytest.mark.parametrize(
    ("teacher", "student", "least", "verdict"),
    [
        (10, 3, 0.7, Verdict.HEALTHY),
        (3, 0.9, 0.7, Verdict.HEALTHY),
        (10, 3.01, 0.7, Verdict.REGRESSED),
        (10, 0, 1.0, Verdict.HEALTHY),
        (10, 10, 0.0, Verdict.HEALTHY),
        (10, 20, 0.0, Verdict.REGRESSED),
    ],
)
def test_just_what_is_asked_for_is_enough(
    teacher: float, student: float, least: float, verdict: Verdict
) -> None:
    rule = replace(RULE, least=least, prices=Prices("EUR", teacher, student))
    assert saving.decide(WHOLE, rule) is verdict


def test_a_student_that_costs_more_says_how_much() -> None:
    rule = replace(RULE, prices=Prices("EUR", teacher=100, student=200))
    told = words.explain(saving.judge(Watched(1_000_000_000, DAY), rule))
    assert "cost 200,000.00 EUR instead of 100,000.00 EUR at the given prices: 100 % more" in told


def test_prices_that_cannot_do_are_warned_of_before_the_day_is_over() -> None:
    finding = saving.judge(Watched(1, 1), replace(RULE, least=0.9))
    assert (finding.verdict, finding.warn) == (Verdict.UNDECIDED, True)
    assert "Warning: this is worse than it should be." in words.explain(finding)
    assert "0.00005 EUR instead of 0.00025 EUR" in words.explain(finding)


def test_without_requests_or_prices_there_is_no_verdict() -> None:
    silent = saving.judge(Watched(0, DAY), RULE)
    assert (silent.verdict, silent.forecast) == (Verdict.NO_DATA, None)
    assert words.explain(silent) == "cost: nothing was measured yet, so nothing is decided."

    unpriced = saving.judge(WHOLE, replace(RULE, prices=None))
    assert (unpriced.verdict, unpriced.student.estimate) == (Verdict.NO_DATA, None)
    assert "prices.studentMillionRequests are not both given" in words.explain(unpriced)


def test_an_outage_keeps_the_sum() -> None:
    finding = saving.unavailable(WHOLE, RULE)
    assert finding.verdict is Verdict.NO_DATA
    assert words.explain(finding) == (
        "cost: nothing can be measured at present; the evidence of 12,000 requests is kept."
    )


def test_nothing_can_be_saved_of_a_teacher_that_costs_nothing() -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        Prices("EUR", teacher=0, student=0)
