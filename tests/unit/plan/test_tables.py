"""The tables and what is made from them: stages, conditions, checklist, the page of states."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import jobs
import pytest
from distill_api.names import ConditionType, Reason, Stage, StageState
from distill_api.status import (
    BenchmarkStatus,
    ChecklistItem,
    Percentiles,
    ServedTokens,
)
from distill_operator.plan import checklist, conditions, cost, diagram, revision, stages
from distill_operator.plan.conditions import Claim, Standing
from distill_operator.plan.evidence import Evidence
from distill_operator.plan.stages import MOVES, UNFINISHED, Sight
from jobs import NOW, a_job


def test_complete_is_left_by_nothing():
    assert StageState.COMPLETE not in {before for before, _, _ in diagram.edges()}


def test_failed_is_left_only_by_changed_settings():
    leaving = {sight for before, _, sight in diagram.edges() if before is StageState.FAILED}
    assert leaving == {Sight.RESTARTED}


def test_every_unfinished_state_can_still_come_to_every_other():
    found = {(before, after) for before, after, _ in diagram.edges()}
    wanted = {(a, b) for a in UNFINISHED for b in StageState if a is not b}
    assert wanted <= found


def test_only_a_job_that_is_not_there_is_made():
    creates = {sight for sight, move in MOVES.items() if move.creates}
    assert creates == {Sight.ABSENT, Sight.LOST, Sight.RESTARTED}


def test_the_page_of_states_is_up_to_date():
    assert diagram.PAGE.read_text() == diagram.page()
    assert diagram.main(["--check"]) == 0


def test_cleanup_is_no_stage_of_a_job():
    assert Stage.CLEANUP not in stages.wanted(jobs.spec(quantize={"method": "INT8"}))


@pytest.mark.parametrize("standing", Standing)
def test_kstatus_can_tell_every_standing(standing: Standing):
    found = {c.type: c.status for c in conditions.of_standing(standing, Reason.RUNNING, "why")}
    doomed = standing in (Standing.FAILED, Standing.INVALID)
    assert (found[ConditionType.STALLED] == "True") is doomed
    assert (found[ConditionType.READY] == "True") is (standing is Standing.SUCCEEDED)
    assert (found[ConditionType.RECONCILING] == "True") is (standing is Standing.GOING)


def test_the_time_of_a_condition_moves_only_with_its_value():
    ready = ConditionType.READY
    first = conditions.updated([], [Claim(ready, "False", Reason.RUNNING, "a")], 1, now=NOW)
    later = NOW + timedelta(minutes=1)
    second = conditions.updated(first, [Claim(ready, "False", Reason.EVICTED, "b")], 2, now=later)
    assert second[0].last_transition_time == NOW
    assert (second[0].reason, second[0].message, second[0].observed_generation) == (
        Reason.EVICTED,
        "b",
        2,
    )
    third = conditions.updated(second, [Claim(ready, "True", Reason.SUCCEEDED, "c")], 2, now=later)
    assert third[0].last_transition_time == later


def test_the_digest_of_settings_ignores_what_shapes_no_pod():
    plain = revision.digest(jobs.spec())
    for changes in ({"suspend": True}, {"ttlSecondsAfterFinished": 9}, {"prices": {"cpuHour": 1}}):
        assert revision.digest(jobs.spec(**changes)) == plain
    for changes in (
        {"retries": 9},
        {"queueName": "q"},
        {"priorityClassName": "p"},
        {"stageDeadlineSeconds": 9},
        {"podTemplate": {"image": "x"}},
    ):
        assert revision.digest(jobs.spec(**changes)) != plain


def test_a_default_that_is_written_out_changes_no_digest():
    assert revision.digest(jobs.spec(retries=3)) == revision.digest(jobs.spec())


# The production checklist.


def an_evidence(*, facts: dict[Stage, dict[str, str]] | None = None, **changes: Any) -> Evidence:
    spec = jobs.spec(**changes)
    used = [jobs.StageStatus(name=Stage.TRAIN, state=StageState.COMPLETE, usage=jobs.Usage())]
    return Evidence(
        spec=spec,
        facts=facts or {},
        evaluation=jobs.an_evaluation(),
        artifact=jobs.ARTIFACT,
        cost=cost.of_job(used, spec.prices),
    )


def state_of(items: list[ChecklistItem], words: str) -> tuple[str, str | None]:
    found = [item for item in items if words in item.item]
    assert found, words
    return found[0].state, found[0].evidence


FACTS = {
    Stage.PREPARE: {
        "train": "120000",
        "validation": "15000",
        "test": "15000",
        "outliers": "12",
        "unsure": "3",
        "teacherAgreement": "0.91",
    },
    Stage.TRAIN: {
        "steps": "1000",
        "checkpoints": "2",
        "curvePoints": "100",
        "converged": "true",
        "bestStep": "900",
    },
    Stage.EVALUATE: {"regressions": "17", "errorExamples": "20"},
}
PRICES = {
    "teacherMillionRequests": 180.0,
    "studentMillionRequests": 9.5,
    "dailyRequests": 1_000_000,
}
SAMPLE = {
    "data": {
        "source": {"uri": "oci://registry.example.com/data/docs"},
        "productionSample": {"uri": "pvc://logs/sample.jsonl"},
    }
}


def seen(verdict: str, auc: str) -> dict[str, str]:
    """Facts of a stage that has compared with production."""
    return {"productionVerdict": verdict, "productionAuc": auc, "productionUnseen": "0.31"}


ITEMS: list[tuple[str, str, dict[str, Any], dict[str, str], str, str]] = [
    ("enough", "100K+", {}, {}, "Proven", "120000 training records"),
    ("too few", "100K+", {}, {"train": "4000"}, "Failed", "4000 training records"),
    ("not asked for", "outliers", {}, {}, "NeedsPerson", "data.filter.outlierDeviations"),
    ("no sample", "matches production", {}, {}, "NeedsPerson", "set data.productionSample"),
    ("a sample unread", "matches production", SAMPLE, {}, "Pending", ""),
    ("alike", "matches production", SAMPLE, seen("matches", "0.52"), "Proven", "area of 0.52"),
    ("unlike", "matches production", SAMPLE, seen("differs", "0.91"), "Failed", "31.0% of"),
    ("small", "matches production", SAMPLE, seen("undecided", "0.6"), "NeedsPerson", "too small"),
    ("guide's split", "Split 80/10/10", {}, {}, "Proven", "80/10/10 by group: 120000, 15000"),
    ("agreement", "teacher consistency", {}, {}, "NeedsPerson", "91.0% of the queries"),
    ("no sweep", "hyperparameter sweep", {}, {}, "NeedsPerson", "One student"),
    (
        "a sweep",
        "hyperparameter sweep",
        {"sweep": {"parameters": [{"path": "training.seed", "min": 1, "max": 9}]}},
        {"trials": "12"},
        "Proven",
        "12 students were tried with other training.seed",
    ),
    ("curves", "learning curves", {}, {}, "Proven", "100 points"),
    ("converged", "convergence", {}, {}, "Proven", "step 900"),
    ("checkpoints", "every 500 steps", {}, {}, "Proven", "one every 500 steps"),
    ("latency", "inference latency", {}, {}, "Proven", "2.1/3/4 ms"),
    ("metrics", "Computed metrics", {}, {}, "Proven", "300 test queries"),
    ("quality", "Verified 93%", {}, {}, "Proven", "97.3% of the teacher's nDCG@10"),
    ("a person's eyes", "Human evaluation", {}, {}, "NeedsPerson", "by hand"),
    ("errors", "Error analysis", {}, {}, "NeedsPerson", "20 queries"),
    ("regressions", "Documented regressions", {}, {}, "Proven", "17 of 300"),
    ("container", "Containerized", {}, {}, "Proven", "image volume"),
    ("no prices", "baseline cost", {}, {}, "NeedsPerson", "prices.dailyRequests"),
    ("prices", "baseline cost", {"prices": PRICES}, {}, "Proven", "180.00 USD a day"),
    ("savings", "monthly savings", {"prices": PRICES}, {}, "Proven", "5115.00 USD a month"),
    ("recipe", "Hyperparameters", {}, {}, "Proven", "seed 42"),
    ("P95", "P95 latency", {}, {}, "Proven", "3 ms"),
    ("share", "savings above 50%", {"prices": PRICES}, {}, "Proven", "94.7%"),
]


@pytest.mark.parametrize(
    ("why", "item", "changes", "facts", "state", "words"), ITEMS, ids=[c[0] for c in ITEMS]
)
def test_an_item_of_the_checklist(
    *, why: str, item: str, changes: dict[str, Any], facts: dict[str, str], state: str, words: str
):
    known = {stage: told | facts for stage, told in FACTS.items()}
    items = checklist.updated([], an_evidence(facts=known, **changes))
    found, evidence = state_of(items, item)
    assert found == state
    assert words in (evidence or "")


@pytest.mark.parametrize(("milliseconds", "state"), [("149.5", "Proven"), ("150.5", "Failed")])
def test_the_p95_of_what_is_served_counts_where_it_was_measured(milliseconds: str, state: str):
    speeds = {f"p{share}_milliseconds": milliseconds for share in (50, 95, 99)}
    load = jobs.a_load(requests_per_second="20", **speeds)
    told = BenchmarkStatus(requests_per_second="20.000", student=load)
    evaluation = jobs.an_evaluation().model_copy(update={"benchmark": told})
    items = checklist.updated([], replace(an_evidence(facts=FACTS), evaluation=evaluation))
    found, evidence = state_of(items, "P95 latency")
    assert found == state
    assert f"{milliseconds} ms when served 20 requests a second" in (evidence or "")


def test_of_an_answer_that_is_written_the_first_token_counts():
    times = Percentiles(p50_milliseconds="40", p95_milliseconds="120", p99_milliseconds="140")
    tokens = ServedTokens(output_tokens=9, tokens_per_second="3", time_to_first_token=times)
    long = {f"p{share}_milliseconds": "4000" for share in (50, 95, 99)}
    load = jobs.a_load(requests_per_second="2", tokens=tokens, **long)
    told = BenchmarkStatus(requests_per_second="2.000", student=load)
    evaluation = jobs.an_evaluation().model_copy(update={"benchmark": told})
    items = checklist.updated([], replace(an_evidence(facts=FACTS), evaluation=evaluation))
    found, evidence = state_of(items, "P95 latency")
    assert found == "Proven"
    assert "120 ms to the first token when served 2 requests a second" in (evidence or "")


def test_what_a_vanished_report_has_proven_stays_proven():
    first = checklist.updated([], an_evidence(facts=FACTS))
    assert checklist.updated(first, an_evidence()) == first


def test_nothing_is_proven_before_anything_has_run():
    nothing = Evidence(a_job().seen.job.spec or jobs.spec(), {}, None, None, None)
    items = checklist.updated([], nothing)
    assert {item.state for item in items} == {"Pending", "NeedsPerson"}
    assert len(items) == len({(item.section, item.item) for item in items}) == 44
