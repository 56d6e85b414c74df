"""Whatever is counted, the statistics of a rollout keep their laws."""

import dataclasses
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
from distill_operator.statistics import (
    betting,
    budget,
    comparison,
    confidence,
    deltas,
    quality,
    rate,
    split,
    sprt,
    trial,
    verdict,
)
from distill_operator.statistics.betting import Wealth
from distill_operator.statistics.comparison import Arm, Contest
from distill_operator.statistics.deltas import Ledger, Rules, Sample
from distill_operator.statistics.dispersion import Clock, Minutes
from distill_operator.statistics.quality import Sums
from distill_operator.statistics.sprt import Decision, Design
from distill_operator.statistics.trial import Trial
from distill_operator.statistics.verdict import Finding, Reference, Verdict
from hypothesis import assume, given, settings

rates = st.floats(0.001, 0.2)
errors = st.floats(0.001, 0.2)
scores = st.floats(0, 1, allow_subnormal=False)
pairs = st.tuples(scores, scores)
SEVERITY = (Decision.ACCEPT, Decision.CONTINUE, Decision.REJECT)


@st.composite
def designs(draw: st.DrawFn) -> Design:
    p0 = draw(rates)
    return Design(
        p0, p0 * draw(st.floats(1.5, 4)), draw(errors), draw(errors), ville=draw(st.booleans())
    )


@st.composite
def counts(draw: st.DrawFn, most: int = 2000) -> tuple[int, int]:
    requests = draw(st.integers(0, most))
    return requests, draw(st.integers(0, requests))


@given(designs(), counts(), st.floats(1, 10))
def test_one_more_failure_never_speaks_for_the_student(
    design: Design, counted: tuple[int, int], effect: float
):
    requests, failures = counted
    assume(failures < requests)
    less = sprt.decide(design, requests, failures, effect=effect)
    more = sprt.decide(design, requests, failures + 1, effect=effect)
    assert SEVERITY.index(less) <= SEVERITY.index(more)


@given(designs(), counts())
def test_one_more_success_never_speaks_against_it(design: Design, counted: tuple[int, int]):
    less = sprt.decide(design, *counted)
    more = sprt.decide(design, counted[0] + 1, counted[1])
    assert SEVERITY.index(more) <= SEVERITY.index(less)


@given(designs(), st.integers(0, 40))
def test_the_edges_are_where_the_decision_changes(design: Design, failures: int):
    accepts, rejects = sprt.accepts_from(design, failures), sprt.rejects_to(design, failures)
    assert sprt.decide(design, accepts + 1, failures) is Decision.ACCEPT
    assert accepts <= failures + 1 or sprt.decide(design, accepts - 2, failures) is not (
        Decision.ACCEPT
    )
    if rejects is not None:
        # One request of slack: on the line itself rounding decides.
        assert sprt.decide(design, max(failures, rejects - 1), failures) is Decision.REJECT or (
            rejects <= failures + 1
        )
        assert sprt.decide(design, rejects + 2, failures) is not Decision.REJECT


@settings(max_examples=25, deadline=None)
@given(designs(), st.floats(0.001, 0.5), st.integers(1, 400))
def test_a_truncated_test_ends_somewhere(design: Design, truth: float, most: int):
    found = sprt.characteristic(design, truth, most)
    assert math.isclose(found.rejects + found.accepts + found.undecided, 1, abs_tol=1e-9)
    assert 0 <= found.leaning <= found.undecided + 1e-12
    assert 1 <= found.mean_requests <= most


@settings(max_examples=25, deadline=None)
@given(designs(), st.integers(1, 400))
def test_villes_bound_keeps_alpha_for_every_design(design: Design, most: int):
    strict = dataclasses.replace(design, ville=True)
    assert sprt.characteristic(strict, strict.p0, most).rejects <= strict.alpha + 1e-12


@given(designs(), rates, st.floats(-0.99, 0.99, allow_subnormal=False))
def test_expected_requests_are_finite_and_none_is_negative(
    design: Design, truth: float, place: float
):
    found = place * (design.upper if place > 0 else -design.lower)
    expected = sprt.expected_requests(design, truth, found=found)
    assert math.isfinite(expected)
    assert expected >= 0


@given(counts(20_000), errors)
def test_an_interval_holds_the_estimate_and_narrows_with_alpha(
    counted: tuple[int, int], alpha: float
):
    requests, failures = counted
    assume(requests)
    wide = confidence.of_rate(requests, failures, alpha=alpha / 2)
    narrow = confidence.of_rate(requests, failures, alpha=alpha)
    assert 0 <= wide.low <= narrow.low <= failures / requests <= narrow.high <= wide.high <= 1


@given(st.lists(counts(300), min_size=1, max_size=12))
def test_a_trial_adds_up(looks: list[tuple[int, int]]):
    told = Trial()
    for requests, failures in looks:
        told = trial.add(told, requests, failures)
    once = trial.add(Trial(), sum(n for n, _ in looks), sum(k for _, k in looks))
    assert told == once


@given(designs(), st.lists(counts(300), max_size=30))
def test_rounds_lose_no_request_and_never_end_in_a_rejection(
    design: Design, looks: list[tuple[int, int]]
):
    told = Trial()
    for requests, failures in looks:
        before = trial.add(told, requests, failures)
        told = trial.settle(before, design)
        assert (told.rounds > before.rounds) is (trial.decide(before, design) is Decision.ACCEPT)
        assert told.rounds in {before.rounds, before.rounds + 1}
    assert told.all_requests == sum(n for n, _ in looks)
    assert told.all_failures == sum(k for _, k in looks)


@given(st.lists(pairs, max_size=40), st.integers(0, 40))
def test_bets_in_pieces_equal_bets_in_one_go(told: list[tuple[float, float]], cut: int):
    on = betting.Bet(0.95, betting.Direction.BELOW, 0.01)
    whole = betting.bet(Wealth(), told, on)
    pieces = betting.bet(betting.bet(Wealth(), told[:cut], on), told[cut:], on)
    assert pieces == whole


@given(st.lists(pairs, max_size=60), st.sampled_from(betting.Direction), st.floats(0.5, 1.1))
def test_a_gambler_never_goes_broke_and_never_more_than_doubles(
    told: list[tuple[float, float]], direction: betting.Direction, ratio: float
):
    on = betting.Bet(ratio, direction, 0.01)
    wealth = betting.bet(Wealth(), told, on)
    # A stake of c/m loses c at most, and gains c (1-m)/m at most.
    most = math.log1p(betting.BOLDNESS * (1 - on.fair) / on.fair)
    assert len(told) * math.log(1 - betting.BOLDNESS) - 1e-9 <= wealth.log_wealth
    assert wealth.log_wealth <= len(told) * most + 1e-9


@given(st.lists(st.tuples(counts(300), counts(300)), max_size=20))
def test_a_contest_in_the_same_ratio_is_symmetric(looks: list[tuple[Any, Any]]):
    design = comparison.Design(2, 0.01, 0.05)
    told = Contest()
    for one, other in looks:
        told = comparison.add(told, Arm(*one), Arm(*other), design)
    both = [(s, t) for s, t in looks if s[0] and t[0]]
    assert told.student_failures == sum(s[1] for s, _ in both)
    assert told.teacher_failures == sum(t[1] for _, t in both)
    assert math.isfinite(told.llr)


@given(
    st.dictionaries(
        # Smaller weights than anybody writes: a share of them may be no number any more.
        st.text(min_size=1),
        st.just(0.0) | st.floats(1e-12, 10),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.0001, 0.4),
)
def test_alpha_sums_to_alpha(weights: Mapping[str, float], alpha: float):
    assume(math.fsum(weights.values()) > 1e-6)
    parts = budget.alphas(alpha, weights)
    assert math.isclose(math.fsum(parts.values()), alpha)
    assert all((parts[name] == 0) == (weight == 0) for name, weight in weights.items())
    rounds = [budget.alpha_of_round(alpha, ended) for ended in range(50)]
    assert math.fsum(rounds) < alpha
    assert all(later < earlier for earlier, later in pairwise(rounds))


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=2), st.floats(0.01, 0.99))
def test_the_order_of_arms_does_not_matter_to_the_split(counted: list[int], share: float):
    found = split.log_e_value(counted, (share, 1 - share))
    assert math.isclose(found, split.log_e_value(counted[::-1], (1 - share, share)), abs_tol=1e-6)
    assert 0 < split.p_value(counted, (share, 1 - share)) <= 1 or found > 700


# Verdicts.

verdicts = st.sampled_from(Verdict)
findings = st.builds(
    Finding,
    metric=st.just("m"),
    what=st.just("failed"),
    verdict=verdicts,
    limit=st.just(0.01),
    fine=st.just(0.005),
    critical=st.booleans(),
)


@given(verdicts, verdicts, verdicts)
def test_verdicts_form_a_semilattice(a: Verdict, b: Verdict, c: Verdict):
    assert verdict.both(a, a) is a
    assert verdict.both(a, b) is verdict.both(b, a)
    assert verdict.both(a, verdict.both(b, c)) is verdict.both(verdict.both(a, b), c)


@given(st.lists(findings, max_size=6), findings)
def test_another_metric_never_takes_a_regression_back_nor_helps_to_promote(
    found: list[Finding], other: Finding
):
    before, after = verdict.combine(found), verdict.combine([*found, other])
    if before is Verdict.REGRESSED:
        assert after is Verdict.REGRESSED
    if after is Verdict.HEALTHY:
        critical = [f for f in found if f.critical]
        assert before is Verdict.HEALTHY or not critical
        assert all(f.verdict is not Verdict.REGRESSED for f in [*found, other])
        assert all(f.verdict is Verdict.HEALTHY for f in [*critical, other] if f.critical)


@given(st.lists(findings, max_size=6))
def test_missing_data_never_blames(found: list[Finding]):
    blind = [dataclasses.replace(f, verdict=Verdict.NO_DATA) for f in found]
    assert verdict.combine(blind) is Verdict.NO_DATA


# Counters.


@st.composite
def scrapes(draw: st.DrawFn, *, in_place: bool) -> list[list[Sample]]:
    """Draw looks at three pods, whose containers restart and vanish, and what they served.

    in_place: a restart keeps the series, as if its start were not known.
    """
    looks: list[list[Sample]] = []
    values, starts = dict.fromkeys("abc", (0, 0)), {"a": 50, "b": 150, "c": 150}
    for number in range(draw(st.integers(1, 12))):
        look = []
        for pod in "abc":
            event = draw(st.sampled_from(["serve", "serve", "serve", "restart", "vanish"]))
            if event == "restart":
                values[pod], starts[pod] = (0, 0), starts[pod] if in_place else 200 + number
            more, failed = draw(counts(50))
            values[pod] = values[pod][0] + more, values[pod][1] + failed
            if event != "vanish":
                series = f"{pod}/{starts[pod]}"
                counters = {"requests": values[pod][0], "failures": values[pod][1]}
                look.append(Sample(series, starts[pod], 200.0 + number, counters))
        looks.append(look)
    return looks


RULES = [Rules(100), Rules(100, warm_requests=30), Rules(100, warm_seconds=3, ignore_older=True)]


@given(st.booleans().flatmap(lambda at: scrapes(in_place=at)), st.sampled_from(RULES))
def test_totals_never_fall_and_gains_are_never_negative(looks: list[list[Sample]], rules: Rules):
    ledger = Ledger()
    for look in looks:
        after, gained = deltas.advance(ledger, look, rules)
        assert all(value >= 0 for value in gained.values())
        for name, total in ledger.totals.items():
            assert after.totals[name] == total + gained.get(name, 0)
        again, nothing = deltas.advance(after, look, rules)
        assert {**again.totals, **after.totals} == again.totals
        assert not any(nothing.values())
        ledger = after


@given(scrapes(in_place=False), st.sampled_from(RULES))
def test_with_starts_known_no_more_fails_than_is_asked(looks: list[list[Sample]], rules: Rules):
    ledger = Ledger()
    for look in looks:
        ledger, gained = deltas.advance(ledger, look, rules)
        assert gained.get("failures", 0) <= gained.get("requests", 0)


@given(st.lists(counts(50), min_size=1, max_size=10), st.sets(st.integers(0, 9)))
def test_looking_less_often_gains_the_same(gains: list[tuple[int, int]], missed: set[int]):
    ledger, requests, failures = Ledger(), 0, 0
    for number, (more, failed) in enumerate(gains):
        requests, failures = requests + more, failures + failed
        if number not in missed or number == len(gains) - 1:
            counters = {"requests": requests, "failures": failures}
            sample = Sample("a", 150, 200.0 + number, counters)
            ledger, _ = deltas.advance(ledger, [sample], Rules(100))
    assert ledger.totals == {"requests": requests, "failures": failures}


# A constant in the place of the teacher.


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), max_size=60),
    st.floats(0.01, 1),
    st.integers(0, 60),
)
def test_a_constant_reference_plays_the_games_of_a_teacher_that_always_scores_it(
    scores: list[float], constant: float, cut: int
):
    known = Reference("the reference", constant)
    paired, rule = KEPT, dataclasses.replace(KEPT, reference=known)
    teacher = quality.add(quality.State(), [(score, constant) for score in scores], paired)
    alone = quality.State()
    for piece in (scores[:cut], scores[cut:]):
        alone = quality.add(alone, quality.against(known, piece), rule)
    assert alone.fell == teacher.fell
    assert alone.holds == teacher.holds
    assert alone.sums.pairs == len(scores)
    one, _ = quality.judge(teacher, paired)
    other, _ = quality.judge(alone, rule)
    assert (one.verdict, one.evidence, one.warn) == (other.verdict, other.evidence, other.warn)


@given(
    st.lists(
        st.tuples(st.floats(0, 1, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False)),
        max_size=40,
    )
)
def test_without_its_reference_nothing_is_decided(told: list[tuple[float, float]]):
    rule = dataclasses.replace(KEPT, reference=Reference("the last one's", unknown="it is gone"))
    state = quality.add(quality.State(), told, rule)
    assert quality.judge(state, rule)[0].verdict is Verdict.NO_DATA
    assert quality.against(Reference("nobody's", unknown="why"), [s for s, _ in told]) == ()


# States that survive the operator.

ERRORS = rate.Rule(
    "errors", "failed", Design(0.005, 0.01, 0.004, 0.05), comparison.Design(2, 0.004, 0.05)
)
KEPT = quality.Rule("ndcg", "nDCG@10", 0.98, 0.95, 0.003, 0.02)


def stored_rate(state: rate.State) -> rate.State:
    """Write the state as JSON, as the status of the object does, and read it again."""
    raw = json.loads(json.dumps(dataclasses.asdict(state)))
    clock = raw["clock"] | {key: Minutes(**raw["clock"][key]) for key in ("row", "before")}
    parts = {"student": Trial(**raw["student"]), "teacher": Trial(**raw["teacher"])}
    parts |= {"contest": Contest(**raw["contest"]), "clock": Clock(**clock)}
    return rate.State(**(raw | parts))


def stored_quality(state: quality.State) -> quality.State:
    raw = json.loads(json.dumps(dataclasses.asdict(state)))
    gamblers = {"fell": Wealth(**raw["fell"]), "holds": Wealth(**raw["holds"])}
    return quality.State(**(raw | gamblers | {"sums": Sums(**raw["sums"])}))


@settings(deadline=None)
@given(st.lists(st.tuples(counts(200), counts(200)), max_size=20), st.sets(st.integers(0, 19)))
def test_an_operator_that_dies_finds_the_same(looks: list[tuple[Any, Any]], deaths: set[int]):
    alive, reborn = rate.State(), rate.State()
    for number, (student, teacher) in enumerate(looks):
        at = 60.0 * number
        found = []
        for state in (alive, stored_rate(reborn) if number in deaths else reborn):
            added = rate.add(state, at, Arm(*student), Arm(*teacher), ERRORS)
            found.append(rate.judge(added, ERRORS, per_second=1.0))
        (one, alive), (other, reborn) = found
        assert one == other
        assert alive == reborn


@settings(deadline=None)
@given(st.lists(st.lists(pairs, max_size=5), max_size=12), st.sets(st.integers(0, 11)))
def test_so_does_one_that_judges_quality(looks: list[list[tuple[float, float]]], deaths: set[int]):
    alive, reborn = quality.State(), quality.State()
    for number, told in enumerate(looks):
        if number in deaths:
            reborn = stored_quality(reborn)
        one, alive = quality.judge(quality.add(alive, told, KEPT), KEPT)
        other, reborn = quality.judge(quality.add(reborn, told, KEPT), KEPT)
        assert (one, alive) == (other, reborn)
