"""Names of children: from owner uid, stage and attempt, so that a repeat means the same object."""

from distill_api.names import Stage

from distill_operator.plan.model import ObservedJob

LONGEST = 63
"""A Job's name becomes a label of its pods."""
_STEM = 38
"""Characters kept of the owner's name: room for stage, uid and four digits of attempt."""


def stage_job(job: ObservedJob, stage: Stage, attempt: int) -> str:
    """Return the name of a stage's Job."""
    return _fit(job, f"{stage.lower()}-{_uid(job)}-{attempt}")


def workspace_claim(job: ObservedJob) -> str:
    """Return the name of the claim that is made for a job."""
    return _fit(job, f"workspace-{_uid(job)}")


def _fit(job: ObservedJob, tail: str) -> str:
    stem = job.name.replace(".", "-")[:_STEM].strip("-")
    return f"{stem}-{tail}"[:LONGEST]


def _uid(job: ObservedJob) -> str:
    return job.uid.replace("-", "")[:8]
