"""What is counted, for whom, and what is kept of it."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from distill_operator.plan.rollout import evidence, record
from distill_operator.plan.rollout.course import State
from distill_operator.plan.rollout.evidence import Epoch, Evidence, Position
from distill_operator.plan.rollout.model import Arm, Counts, ObservedMetrics, PairedScores
from distill_operator.plan.rollout.phases import Phase
from distill_operator.statistics import words
from distill_operator.statistics.verdict import Finding
from rollout_world import a_world
from rollouts import METRICS, NOW, POLICY

EPOCH = Epoch(NOW, frozenset({"s1", "s2", "t1"}))
LATER = NOW + timedelta(seconds=10)
POLICIES = replace(POLICY, metrics=(METRICS["errors"], METRICS["quality"]))


def counts(pod: str, requests: int, events: int = 0, **changes: Any) -> Counts:
    arm = Arm.TEACHER if pod.startswith("t") else Arm.STUDENT
    return replace(Counts(arm, pod, LATER, "errors", requests, events), **changes)


def take(before: Evidence, *seen: Counts, **changes: Any) -> evidence.Taken:
    policy = replace(POLICIES, **changes)
    return evidence.take(before, ObservedMetrics(counts=seen), policy, EPOCH, now=LATER)


def test_arms_are_told_apart_by_their_pods_and_not_by_the_model():
    taken = take(Evidence(), counts("s1", 100, 3), counts("s2", 50, 1), counts("t1", 1000, 2))
    state = taken.evidence.rates["errors"]
    assert (state.student.all_requests, state.student.all_failures) == (150, 4)
    assert (state.teacher.all_requests, state.teacher.all_failures) == (1000, 2)
    assert (taken.requests.student, taken.requests.teacher) == (150, 1000)


def test_a_probers_requests_are_in_a_latency_and_no_share_of_the_traffic():
    """They are in both arms' histograms of vLLM, and would draw a share towards a half."""
    taken = take(
        Evidence(),
        counts("s1", 124, arrived=124),
        counts("s1", 503, metric="latency", arrived=124),
        counts("t1", 385, arrived=385),
        counts("t1", 764, metric="latency", arrived=385),
        metrics=(METRICS["errors"], METRICS["latency"]),
    )
    assert taken.evidence.rates["latency"].student.all_requests == 503
    assert (taken.requests.student, taken.requests.teacher) == (124, 385)


def test_the_same_scrape_twice_counts_once():
    once = take(Evidence(), counts("s1", 100, 3))
    twice = take(once.evidence, counts("s1", 100, 3))
    assert twice.evidence.rates["errors"].student == once.evidence.rates["errors"].student
    assert twice.requests.student == 0


def test_what_was_counted_before_this_epoch_is_not_ours():
    old = counts("s1", 5000, 50, started=NOW - timedelta(hours=1))
    first = take(Evidence(), old)
    assert first.evidence.rates["errors"].student.all_requests == 0
    then = take(first.evidence, replace(old, requests=5010))
    assert then.evidence.rates["errors"].student.all_requests == 10


def test_warming_up_is_no_evidence_and_still_traffic():
    taken = take(Evidence(), counts("s1", 30, 30), warm_requests=20)
    assert taken.evidence.rates["errors"].student.all_requests == 0
    assert taken.requests.student == 30
    warm = take(taken.evidence, counts("s1", 40, 30), warm_requests=20)
    assert warm.evidence.rates["errors"].student.all_requests == 10
    assert warm.evidence.rates["errors"].student.all_failures == 0


def test_only_living_processes_are_remembered():
    taken = take(Evidence(), counts("s1", 10), counts("gone", 10))
    again = take(taken.evidence, counts("s1", 5, started=LATER + timedelta(seconds=5)))
    assert {key.split("/")[0] for key in again.evidence.ledgers[Arm.STUDENT].series} == {"s1"}
    assert len(again.evidence.ledgers[Arm.STUDENT].series) == 1
    assert again.evidence.rates["errors"].student.all_requests == 25


def pairs(total: int, uid: str = "p1", *, failed: tuple[int, ...] = ()) -> PairedScores:
    numbers = tuple(n for n in range(1, total + 1) if n not in failed)
    return PairedScores("quality", uid, ((0.8, 0.8),) * len(numbers), numbers, total)


def scored(before: Evidence, seen: PairedScores) -> Evidence:
    look = ObservedMetrics(scores=(seen,))
    return evidence.take(before, look, POLICIES, EPOCH, now=LATER).evidence


def taken_pairs(found: Evidence) -> int:
    return found.qualities["quality"].sums.pairs


def test_pairs_are_taken_in_once_and_those_of_other_models_are_new_ones():
    first = scored(Evidence(), pairs(20))
    assert taken_pairs(first) == 20
    assert taken_pairs(scored(first, pairs(20))) == 20
    more = scored(first, pairs(25))
    assert taken_pairs(more) == 25
    assert taken_pairs(scored(more, pairs(10, "p2"))) == 35


def test_a_prober_that_starts_again_brings_nothing_until_it_is_as_far_as_before():
    before = scored(Evidence(), pairs(20))
    again = scored(before, pairs(5))
    assert taken_pairs(again) == 20
    assert taken_pairs(scored(again, pairs(15))) == 20
    assert taken_pairs(scored(again, pairs(22))) == 22


def judged_quality(found: Evidence) -> Finding:
    measured = evidence.Taken(found, measured=frozenset({"quality"}))
    told, _ = evidence.judge(measured, POLICIES, read=True, per_second=None)
    return {metric.name: finding for metric, finding in told}["quality"]


@pytest.mark.parametrize(
    ("total", "failed", "queries", "exhausted"),
    [
        (20, (), 20, True),
        (20, (3, 20), 20, True),
        (19, (), 20, False),
        (20, (), None, False),
    ],
    ids=["all were scored", "some were given up", "one is left", "users' own have no end"],
)
def test_an_open_quality_is_exhausted_once_all_queries_are_done_with(
    total: int, failed: tuple[int, ...], queries: int | None, *, exhausted: bool
) -> None:
    found = scored(Evidence(), replace(pairs(total, failed=failed), queries=queries))
    finding = judged_quality(found)
    assert (finding.verdict, finding.exhausted) == ("Undecided", exhausted)
    assert (finding.forecast is None) == exhausted
    assert ("Every query was asked" in words.explain(finding)) == exhausted


def test_another_run_with_more_queries_is_not_exhausted_any_more() -> None:
    before = scored(Evidence(), replace(pairs(20), queries=20))
    assert judged_quality(before).exhausted
    assert not judged_quality(scored(before, replace(pairs(5, "p2"), queries=40))).exhausted


def test_what_is_decided_needs_no_more_queries() -> None:
    seen = replace(pairs(2000), queries=2000)
    finding = judged_quality(scored(Evidence(), seen))
    assert (finding.verdict, finding.exhausted) == ("Healthy", False)


def test_a_record_of_before_the_number_of_queries_was_kept_is_read() -> None:
    state = State(evidence=scored(Evidence(), replace(pairs(20), queries=20)))
    dumped = record.dump(state)
    assert record.load(json.loads(json.dumps(dumped))) == state
    del dumped["evidence"]["positions"]["quality"]["queries"]
    loaded = record.load(dumped)
    assert loaded.evidence.positions["quality"] == Position("p1", 20)
    assert not judged_quality(loaded.evidence).exhausted


def test_failed_queries_leave_gaps_that_count_for_nothing():
    before = scored(Evidence(), pairs(10, failed=(9, 10)))
    assert taken_pairs(before) == 8
    # A look that was begun before the last one was taken in has the same pairs once more.
    assert taken_pairs(scored(before, pairs(12, failed=(9, 11)))) == 9


def test_a_metric_that_is_not_measured_has_no_verdict_and_keeps_its_evidence():
    taken = take(Evidence(), counts("s1", 1000))
    silent = evidence.take(taken.evidence, ObservedMetrics(), POLICIES, EPOCH, now=LATER)
    found, kept = evidence.judge(silent, POLICIES, read=True, per_second=None)
    assert [finding.verdict for _, finding in found] == ["NoData", "NoData"]
    assert kept.rates["errors"].student.all_requests == 1000


def test_pairs_are_forecast_at_the_pace_at_which_they_come():
    taken = evidence.Taken(scored(Evidence(), pairs(20)), measured=frozenset({"quality"}))
    for watched, pace in ((40.0, 0.5), (0.0, None)):
        told, _ = evidence.judge(taken, POLICIES, read=True, per_second=None, watched=watched)
        forecast = {metric.name: finding for metric, finding in told}["quality"].forecast
        assert forecast is not None
        assert forecast.seconds == (forecast.requests / pace if pace else None)
        assert not forecast.stalled


def test_history_and_record_stay_small():
    world = a_world().to_step(2)
    for number in range(15):
        world.order(abort=True)
        world.turn()
        world.run(60, until=Phase.ROLLED_BACK)
        world.order(abort=False, retry=str(number))
        world.to_step(1)
    assert world.memory.transition.id > 60
    assert len(world.memory.history) == 20
    assert len(json.dumps(record.dump(world.state))) < 30_000
