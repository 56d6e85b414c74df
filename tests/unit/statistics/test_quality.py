"""Paired quality: what is proven of scores, and when."""

import math
from dataclasses import replace
from itertools import cycle, islice

import pytest
from distill_operator.statistics import betting, quality
from distill_operator.statistics.betting import Bet, Direction, Wealth
from distill_operator.statistics.quality import Rule, State
from distill_operator.statistics.verdict import Finding, Verdict

RULE = Rule("ndcg", "nDCG@10", fine=0.98, limit=0.95, alpha=0.003, beta=0.02)
# Means of 0.8 for the teacher; the student swings around its own.
TEACHER = (0.7, 0.9, 0.8, 0.8)
SWINGS = (0.1, -0.1, 0.05, -0.05)


def pairs(kept: float, count: int) -> list[tuple[float, float]]:
    """Make pairs whose ratio of means is `kept`, exactly at every fourth."""
    told = [(kept * t + swing, t) for t, swing in zip(TEACHER, SWINGS, strict=True)]
    return list(islice(cycle(told), count))


def judge(kept: float, count: int, rule: Rule = RULE) -> tuple[Finding, State]:
    """Judge after each four pairs, until something is proven or there are no more."""
    state, finding = State(), None
    for start in range(0, count, 4):
        state = quality.add(state, pairs(kept, 4), rule)
        finding, state = quality.judge(state, rule, per_second=0.1)
        if finding.verdict in {Verdict.REGRESSED, Verdict.HEALTHY}:
            break
        assert start < count
    assert finding is not None
    return finding, state


CASES: list[tuple[str, float, int, Verdict]] = [
    ("as good as the teacher", 1.0, 2000, Verdict.HEALTHY),
    ("as bad as is fine", 0.98, 2000, Verdict.HEALTHY),
    ("at the limit", 0.95, 4000, Verdict.REGRESSED),
    ("far below", 0.85, 2000, Verdict.REGRESSED),
    ("a few pairs", 1.0, 12, Verdict.UNDECIDED),
]


@pytest.mark.parametrize(("why", "kept", "count", "verdict"), CASES, ids=[c[0] for c in CASES])
def test_a_student(why: str, kept: float, count: int, verdict: Verdict):
    assert judge(kept, count)[0].verdict is verdict


def test_no_pair_is_no_verdict_and_an_outage_keeps_what_was_seen():
    assert quality.judge(State(), RULE)[0].verdict is Verdict.NO_DATA
    state = quality.add(State(), pairs(1.0, 8), RULE)
    finding = quality.unavailable(state, RULE)
    assert (finding.verdict, finding.student.count) == (Verdict.NO_DATA, 8)


def test_once_proven_a_sudden_drop_is_found_as_soon_as_at_the_beginning():
    _, state = judge(1.0, 2000)
    assert (state.accepted, state.rounds, state.fell.pairs) == (True, 1, 0)
    for _ in range(300):
        state = quality.add(state, pairs(1.0, 4), RULE)
        finding, state = quality.judge(state, RULE)
        assert finding.verdict is Verdict.HEALTHY
    spent = 0
    while finding.verdict is not Verdict.REGRESSED:
        state = quality.add(state, pairs(0.5, 4), RULE)
        finding, state = quality.judge(state, RULE)
        spent += 4
    # At the very beginning it takes 36; here the bound is that of a later round.
    assert spent <= 100


def test_the_shown_ratio_is_that_of_the_means_with_an_interval():
    finding, _ = judge(0.96, 400)
    student = finding.student
    assert student.estimate == pytest.approx(0.96)
    assert student.interval is not None
    assert student.interval.low < 0.96 < student.interval.high
    # half_width(400 pairs, sd of swings .0790569, .05, 500) / .8
    state = quality.add(State(), pairs(0.96, 400), RULE)
    ratio, interval = quality.retention(state.sums, level=0.05, planned=500)
    assert ratio is not None
    assert interval is not None
    assert interval.high - ratio == pytest.approx(0.0151, abs=0.0002)


def test_a_teacher_that_scores_nothing_has_no_ratio():
    state = quality.add(State(), [(0.0, 0.0)] * 4, RULE)
    assert quality.retention(state.sums, level=0.05, planned=100) == (None, None)
    finding, _ = quality.judge(state, RULE)
    assert (finding.student.estimate, finding.verdict) == (None, Verdict.UNDECIDED)


def test_a_single_pair_has_no_interval():
    state = quality.add(State(), [(0.5, 1.0)], RULE)
    assert quality.retention(state.sums, level=0.05, planned=100) == (0.5, None)


def test_a_warning_needs_certainty():
    rule = replace(RULE, warn=0.99)
    few = quality.add(State(), pairs(0.97, 4), rule)
    many = quality.add(State(), pairs(0.97, 4000), rule)
    assert not quality.judge(few, rule)[0].warn
    assert quality.judge(many, rule)[0].warn


def test_the_forecast_is_about_right():
    state = quality.add(State(), pairs(1.0, 40), RULE)
    told = quality.judge(state, RULE, per_second=0.1)[0].forecast
    assert told is not None
    needed = 0
    while quality.decide(state, RULE) is Verdict.UNDECIDED:
        state = quality.add(state, pairs(1.0, 4), RULE)
        needed += 4
    assert told.requests == pytest.approx(needed, rel=0.25)
    assert told.seconds == pytest.approx(10 * told.requests)


def test_a_game_that_stands_still_has_no_forecast():
    on = Bet(0.95, Direction.ABOVE, 0.05)
    even = betting.bet(Wealth(), [(0.95, 1.0)] * 20, on)
    assert betting.pairs_to_decide(even, on, log_bound=betting.bound(0.05)) is None
    assert betting.pairs_to_decide(Wealth(), on, log_bound=3.0) is None


def test_a_bet_on_below_is_the_other_way_round():
    above, below = Bet(0.95, Direction.ABOVE, 0.05), Bet(0.95, Direction.BELOW, 0.05)
    assert above.fair + below.fair == pytest.approx(1)
    assert above.values([(0.3, 0.9)])[0] == pytest.approx(0.395 / 1.95)
    assert below.values([(0.3, 0.9)])[0] == pytest.approx(1.555 / 1.95)
    worse = [(0.5, 1.0)] * 30
    assert betting.bet(Wealth(), worse, below).log_wealth > math.log(20)
    assert betting.bet(Wealth(), worse, above).log_wealth < 0


REFUSED: list[tuple[str, dict[str, float], str]] = [
    ("limits the wrong way round", {"fine": 0.93, "limit": 0.95}, "the second below the first"),
    ("a limit of nothing", {"limit": 0.0}, "both above 0"),
]


@pytest.mark.parametrize(("why", "changes", "words"), REFUSED, ids=[c[0] for c in REFUSED])
def test_bad_limits_are_refused(why: str, changes: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        replace(RULE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [(1.2, 0.5), (0.5, -0.1), (math.nan, 0.5)])
def test_scores_beyond_the_scale_are_refused(scores: tuple[float, float]):
    with pytest.raises(ValueError, match="Scale the measure, or leave the pair out"):
        quality.add(State(), [scores], RULE)
