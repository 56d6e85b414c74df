"""Writes the report as a termination message: valid JSON that fits, whatever is left out."""

from collections.abc import Callable
from typing import Final

from distill_api.wire import REPORT_LIMIT, Report

_SUMMARY = 160
_MESSAGE = 600
_EXPLANATION = 200
_SCORES = 4
_LEADERS = 4
_REMARK = 100


def _without_facts(report: Report) -> Report:
    return report.model_copy(update={"facts": {}})


def _short_summary(report: Report) -> Report:
    return report.model_copy(update={"summary": shorten(report.summary, _SUMMARY)})


def _short_message(report: Report) -> Report:
    if report.failure is None:
        return report
    message = shorten(report.failure.message, _MESSAGE)
    return report.model_copy(
        update={"failure": report.failure.model_copy(update={"message": message})}
    )


def _short_evaluation(report: Report) -> Report:
    if report.evaluation is None:
        return report
    shorter = {
        "explanation": shorten(report.evaluation.explanation, _EXPLANATION),
        "scores": report.evaluation.scores[:_SCORES],
    }
    return report.model_copy(update={"evaluation": report.evaluation.model_copy(update=shorter)})


def _without_also(report: Report) -> Report:
    if report.artifact is None:
        return report
    return report.model_copy(update={"artifact": report.artifact.model_copy(update={"also": []})})


def _short_publications(report: Report) -> Report:
    shorter = [
        told.model_copy(update={"message": told.message and shorten(told.message, _REMARK)})
        for told in report.publications
    ]
    return report.model_copy(update={"publications": shorter})


def _without_publications(report: Report) -> Report:
    return report.model_copy(update={"publications": []})


def _short_sweep(report: Report) -> Report:
    if report.sweep is None:
        return report
    shorter = {"leaders": report.sweep.leaders[:_LEADERS]}
    return report.model_copy(update={"sweep": report.sweep.model_copy(update=shorter)})


_SHORTER: Final[tuple[Callable[[Report], Report], ...]] = (
    _short_summary,
    _short_sweep,
    _short_publications,
    _short_message,
    _without_facts,
    _short_evaluation,
    _without_also,
    _without_publications,
)
"""In the order in which they hurt."""


def fit(report: Report, limit: int = REPORT_LIMIT) -> bytes:
    """Return the report's JSON in at most `limit` bytes."""
    content = encode(report)
    for shorter in _SHORTER:
        if len(content) <= limit:
            return content
        report = shorter(report)
        content = encode(report)
    if len(content) <= limit:
        return content
    # Only the bare outcome is left: still a valid Report, and the log has the rest.
    bare = Report(
        stage=report.stage,
        outcome=report.outcome,
        failure=report.failure,
        fingerprint=report.fingerprint,
        reused=report.reused,
        usage=report.usage,
    )
    return encode(bare)


def encode(report: Report) -> bytes:
    """Return compact JSON without what has its default."""
    return report.model_dump_json(by_alias=True, exclude_none=True).encode()


def shorten(text: str, limit: int) -> str:
    """Cut a text to a number of characters, with a sign that it was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
