"""The report always fits the termination message."""

import jobs
from distill_api.names import Reason, Stage
from distill_api.status import EvaluationStatus
from distill_api.wire import REPORT_LIMIT, Failure, Report
from distill_trainer import reporting
from hypothesis import given
from hypothesis import strategies as st


def an_evaluation(scores: int, explanation: str) -> EvaluationStatus:
    made = jobs.an_evaluation()
    changes = {"explanation": explanation, "scores": made.scores * scores}
    return made.model_copy(update=changes)


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
