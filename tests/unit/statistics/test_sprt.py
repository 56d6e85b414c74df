"""The sequential test: designs, bounds, characteristics, forecasts."""

from dataclasses import replace

import pytest
from distill_operator.statistics import comparison, sprt
from distill_operator.statistics.comparison import Arm, Contest
from distill_operator.statistics.sprt import Decision, Design

ERRORS = Design(0.005, 0.01, 0.01, 0.05)

BAD: list[tuple[str, tuple[float, float, float, float], str]] = [
    ("rates that fall", (0.02, 0.01, 0.01, 0.05), "0 < p0 < p1 < 1"),
    ("a rate of nothing", (0.0, 0.01, 0.01, 0.05), "Lower the first or raise the second"),
    ("alpha of a half", (0.005, 0.01, 0.5, 0.05), "between 0 and 0.5"),
    ("no beta", (0.005, 0.01, 0.01, 0.0), "shares of wrong decisions"),
]


@pytest.mark.parametrize(("why", "numbers", "words"), BAD, ids=[c[0] for c in BAD])
def test_a_bad_design_is_refused(why: str, numbers: tuple[float, float, float, float], words: str):
    with pytest.raises(ValueError, match=words):
        Design(*numbers)


def test_villes_bound_keeps_alpha_and_walds_may_not():
    # Two failures in a row reject, 0.25 at p0; the first success accepts, far below its bound.
    hasty = Design(0.5, 0.99, 0.18, 0.3)
    assert sprt.characteristic(hasty, hasty.p0, 50).rejects == pytest.approx(0.25)
    strict = replace(hasty, ville=True)
    assert sprt.characteristic(strict, hasty.p0, 50).rejects == pytest.approx(0.125)


def test_walds_inequality_holds_exactly():
    for rate, wrong in ((ERRORS.p0, "rejects"), (ERRORS.p1, "accepts")):
        found = getattr(sprt.characteristic(ERRORS, rate, 30_000), wrong)
        limit = 0.01 / 0.95 if wrong == "rejects" else 0.05 / 0.99
        assert 0.5 * limit < found <= limit


def test_correlated_requests_count_less():
    assert sprt.decide(ERRORS, 66, 7) is Decision.REJECT
    assert sprt.decide(ERRORS, 66, 7, effect=2) is Decision.CONTINUE
    assert sprt.decide(ERRORS, 132, 14, effect=2) is Decision.REJECT


@pytest.mark.parametrize(
    ("found", "place"), [(ERRORS.upper, 1), (ERRORS.lower, -1), (0, 0), (ERRORS.upper / 2, 0.5)]
)
def test_progress_lies_between_the_bounds(found: float, place: float):
    assert sprt.progress(ERRORS, found) == pytest.approx(place)


def test_the_horizon_is_where_the_test_has_nearly_always_decided():
    most = sprt.horizon(ERRORS)
    for rate in (ERRORS.p0, ERRORS.p1):
        assert sprt.characteristic(ERRORS, rate, most).undecided <= 0.01
    assert sprt.characteristic(ERRORS, ERRORS.p1, most - 1).undecided > 0.01
    # In between it may be open for much longer.
    assert sprt.characteristic(ERRORS, ERRORS.indifferent, most).undecided > 0.1


def test_rates_too_close_have_no_horizon():
    close = Design(0.0099, 0.01, 0.01, 0.05)
    assert sprt.horizon(close) == sprt.LONGEST


def test_requests_to_detect_five_times_the_limit():
    needed = sprt.requests_to_detect(ERRORS, 0.05)
    assert sprt.characteristic(ERRORS, 0.05, needed).rejects >= 0.95
    assert sprt.characteristic(ERRORS, 0.05, needed - 1).rejects < 0.95
    with pytest.raises(ValueError, match=r"further above 1\.00%"):
        sprt.requests_to_detect(ERRORS, 0.006)


def test_walds_mean_is_near_the_exact_one_and_shrinks_as_evidence_comes():
    for rate in (0.0, 0.002, 0.005, 0.007, 0.01, 0.05):
        exact = sprt.characteristic(ERRORS, rate, 60_000).mean_requests
        assert sprt.expected_requests(ERRORS, rate) == pytest.approx(exact, rel=0.15)
    fresh = sprt.expected_requests(ERRORS, 0.003)
    assert sprt.expected_requests(ERRORS, 0.003, found=-2) < 0.5 * fresh
    assert sprt.expected_requests(ERRORS, 0.003, found=ERRORS.lower) == 0


TWICE = comparison.Design(2, 0.01, 0.05)


def contest_of(*looks: tuple[Arm, Arm]) -> Contest:
    told = Contest()
    for student, teacher in looks:
        told = comparison.add(told, student, teacher, TWICE)
    return told


def test_a_student_that_fails_as_often_is_no_worse():
    looks = [(Arm(50, 5), Arm(950, 95))] * 6
    assert comparison.decide(contest_of(*looks), TWICE) is Decision.ACCEPT


def test_a_student_that_fails_twice_as_often_is_worse():
    looks = [(Arm(500, 20), Arm(500, 10))] * 6
    assert comparison.decide(contest_of(*looks), TWICE) is Decision.REJECT


def test_the_share_may_change_from_look_to_look():
    # 10 % and then 50 % of the requests, always as many failures as requests allow for.
    told = contest_of((Arm(100, 2), Arm(900, 18)), (Arm(500, 10), Arm(500, 10)))
    # 2 ln(20/11) + 18 ln(10/11) + 10 ln(4/3) + 10 ln(2/3)
    assert told.llr == pytest.approx(-1.6977396, abs=1e-6)


@pytest.mark.parametrize("arms", [(Arm(0), Arm(10, 5)), (Arm(10, 5), Arm(0))])
def test_failures_of_one_arm_alone_compare_with_nothing(arms: tuple[Arm, Arm]):
    assert contest_of(arms) == Contest()


def test_a_ratio_of_one_tells_nothing_apart():
    with pytest.raises(ValueError, match="a ratio above 1"):
        comparison.Design(1, 0.01, 0.05)
