"""The report always fits the termination message."""

from distill_api.names import Reason, Stage
from distill_api.status import EvaluationStatus, Score, Speed
from distill_api.wire import REPORT_LIMIT, Failure, Report
from distill_trainer import reporting
from hypothesis import given
from hypothesis import strategies as st

SPEED = Speed(
    p50_milliseconds="1.5", p95_milliseconds="2.5", p99_milliseconds="3.5", items_per_second="100"
)


def an_evaluation(scores: int, explanation: str) -> EvaluationStatus:
    score = Score(
        measure="nDCG@10",
        student="0.912345",
        teacher="0.923456",
        retention="0.987654",
        retention_low="0.971111",
        retention_high="0.999999",
    )
    return EvaluationStatus(
        verdict="Passed",
        explanation=explanation,
        scores=[score] * scores,
        student=SPEED,
        teacher=SPEED,
        speedup="3.5",
        student_parameters=1,
        teacher_parameters=2,
        queries=3,
        documents=4,
    )


def test_a_report_that_fits_is_left_as_it_is():
    report = Report(stage=Stage.PREPARE, outcome="Done", summary="fine", facts={"records": "12"})
    assert Report.model_validate_json(reporting.fit(report)) == report


def test_facts_go_before_the_evaluation():
    facts = {f"fact{n}": "x" * 60 for n in range(60)}
    report = Report(
        stage=Stage.EVALUATE, outcome="Done", facts=facts, evaluation=an_evaluation(3, "good")
    )
    read = Report.model_validate_json(reporting.fit(report))
    assert read.facts == {}
    assert read.evaluation == report.evaluation


@given(
    message=st.text(max_size=1500),
    explanation=st.text(max_size=2048),
    scores=st.integers(1, 16),
    summary=st.text(max_size=400),
    facts=st.dictionaries(st.text(max_size=40), st.text(max_size=80), max_size=50),
)
def test_whatever_is_told_the_message_is_valid_and_fits(
    message: str, explanation: str, scores: int, summary: str, facts: dict[str, str]
):
    report = Report(
        stage=Stage.EVALUATE,
        outcome="GiveUp",
        failure=Failure(reason=Reason.BAD_DATA, message=message),
        summary=summary,
        facts=facts,
        evaluation=an_evaluation(scores, explanation),
    )
    content = reporting.fit(report)
    read = Report.model_validate_json(content)
    assert len(content) <= REPORT_LIMIT
    assert (read.stage, read.outcome) == (report.stage, report.outcome)
    assert read.failure is not None
    assert read.failure.reason is Reason.BAD_DATA
