"""Print student against teacher, the artifact and the verdict."""

from collections.abc import Mapping
from typing import Any

from distill_api.names import Stage
from distill_api.wire import Report
from rich.console import Console
from rich.table import Table

LATENCIES = {
    "P50 latency, ms": "p50Milliseconds",
    "P95 latency, ms": "p95Milliseconds",
    "P99 latency, ms": "p99Milliseconds",
}


def of(reports: Mapping[Stage, Report]) -> dict[str, Any]:
    """Return what the operator would write into a job's status from these reports."""
    evaluation, artifact = reports[Stage.EVALUATE].evaluation, reports[Stage.PUBLISH].artifact
    if evaluation is None or artifact is None:
        raise ValueError("the job has no evaluation, or published nothing")
    return {
        "evaluation": evaluation.model_dump(mode="json", by_alias=True),
        "artifact": artifact.model_dump(mode="json", by_alias=True),
        "stages": [{"name": stage, "summary": told.summary} for stage, told in reports.items()],
    }


def show(status: dict[str, Any], *, items: str = "documents") -> None:
    """Print the tables of a job that has ended well; items: what was counted in a second."""
    console = Console(width=110)
    console.print(comparison(status["evaluation"], items))
    console.print(status["evaluation"]["explanation"])
    for stage in status["stages"]:
        if stage["name"] == "Quantize":
            console.print(stage["summary"])
    artifact = status["artifact"]
    console.print(f"\nArtifact: {artifact['uri']}", soft_wrap=True)
    console.print(f"Digest:   {artifact['digest']}", soft_wrap=True)
    console.print(f"Weights:  {artifact['weightsDigest']}", soft_wrap=True)


def comparison(evaluation: dict[str, Any], items: str) -> Table:
    """Put the student beside its teacher."""
    table = Table("measure", "student", "teacher", "student / teacher", title="Student and teacher")
    for score in evaluation["scores"]:
        interval = f"{percent(score['retentionLow'])} to {percent(score['retentionHigh'])}"
        ratio = f"{percent(score['retention'])} ({interval})"
        table.add_row(score["measure"], score["student"], score["teacher"], ratio)
    speeds = {f"{items} per second": "itemsPerSecond", **LATENCIES}
    for title, key in speeds.items():
        student, teacher = (float(evaluation[who][key]) for who in ("student", "teacher"))
        table.add_row(title, f"{student:.1f}", f"{teacher:.1f}", f"{student / teacher:.2f}x")
    student, teacher = evaluation["studentParameters"], evaluation["teacherParameters"]
    table.add_row("parameters", f"{student:,}", f"{teacher:,}", percent(student / teacher))
    return table


def percent(ratio: str | float) -> str:
    """Write a ratio as a percentage."""
    return f"{100 * float(ratio):.1f}%"
