"""The model card tells how the student was served under load, where that was measured."""

from pathlib import Path

import jobs
from distill_api.names import Stage
from distill_api.status import (
    BenchmarkStatus,
    EvaluationStatus,
    Lineage,
    Percentiles,
    ServedTokens,
)
from distill_trainer.publishing import model_card
from trainer import DATA_CARD, a_task

LINEAGE = Lineage(teacher="t", data="d", recipe="r", code_version="1", seed=1)
LOAD = jobs.a_load()


def a_card(evaluation: EvaluationStatus) -> str:
    return model_card.render(a_task(Path("/unused"), Stage.PUBLISH), LINEAGE, evaluation, DATA_CARD)


def test_the_card_has_the_load_of_both():
    told = BenchmarkStatus(requests_per_second="50.000", student=LOAD, teacher=LOAD)
    card = a_card(jobs.an_evaluation().model_copy(update={"benchmark": told}))
    assert "| served at 50.0 requests/s: P95 (ms) | 12.250 | 12.250 |" in card
    assert "| served: failed of 2000 requests | 3 | 3 |" in card
    assert "| served: memory at its peak (MiB) | 700 | 700 |" in card


def test_the_card_has_the_tokens_of_what_writes():
    times = Percentiles(p50_milliseconds="40.5", p95_milliseconds="120.5", p99_milliseconds="140.5")
    quick = ServedTokens(output_tokens=9, tokens_per_second="31.25", time_to_first_token=times)
    whole = quick.model_copy(update={"time_per_output_token": times})
    student, teacher = (LOAD.model_copy(update={"tokens": own}) for own in (whole, quick))
    told = BenchmarkStatus(requests_per_second="2.000", student=student, teacher=teacher)
    card = a_card(jobs.an_evaluation().model_copy(update={"benchmark": told}))
    assert "| served: P95 to the first token (ms) | 120.5 | 120.5 |" in card
    assert "| served: P95 per output token (ms) | 120.5 |  |" in card
    assert "| served: output tokens per second | 31.25 | 31.25 |" in card
    alone = told.model_copy(update={"teacher": None})
    card = a_card(jobs.an_evaluation().model_copy(update={"benchmark": alone}))
    assert "| served: P95 per output token (ms) | 120.5 |  |" in card


def test_a_teacher_that_was_not_served_has_an_empty_column():
    told = BenchmarkStatus(requests_per_second="50.000", student=LOAD, remark="an endpoint")
    card = a_card(jobs.an_evaluation().model_copy(update={"benchmark": told}))
    assert "| served: P99 (ms) | 31.500 |  |" in card


def test_a_student_that_was_not_served_has_no_such_rows():
    assert "served" not in a_card(jobs.an_evaluation()).partition("## How it was made")[0]
