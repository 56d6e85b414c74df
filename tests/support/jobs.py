"""Builders of what the planner sees: `a_job().after(Stage.LABEL).with_stage_job(...)`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage, StageState
from distill_api.status import (
    Artifact,
    EvaluationStatus,
    JobStatus,
    Lineage,
    Score,
    ServedLoad,
    Speed,
    StageStatus,
    Usage,
)
from distill_api.wire import Failure, Report
from distill_operator.plan import look as sight
from distill_operator.plan import naming, revision, stages
from distill_operator.plan.look import Sighting
from distill_operator.plan.model import (
    Observed,
    ObservedClaim,
    ObservedJob,
    ObservedPod,
    ObservedProgress,
    ObservedStageJob,
    RefusedChild,
    Settings,
)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
UID = "0a1b2c3d-1111-2222-3333-444455556666"
SETTINGS = Settings(
    trainer_image="registry.example.com/trainer@sha256:" + "a" * 64,
    progress_url="https://kubedistill-progress.kubedistill.svc/v1",
    progress_ca="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    code_version="0.1.0",
)
SPEC: dict[str, Any] = {
    "component": "Embedding",
    "teacher": {"model": {"uri": "oci://registry.example.com/teachers/minilm"}},
    "student": {"fromTeacher": {"keepLayers": [0, 3, 5]}},
    "data": {"source": {"uri": "oci://registry.example.com/data/docs"}},
    "recipe": {"embedding": {"mse": {"weight": 1.0}}},
    "training": {"epochs": 1},
    "publish": [{"oci": {"repository": "registry.example.com/models/minilm"}}],
}
LINEAGE = Lineage(
    teacher="sha256:" + "1" * 64,
    data="sha256:" + "2" * 64,
    recipe="sha256:" + "3" * 64,
    code_version="0.1.0",
    seed=42,
)
ARTIFACT = Artifact(
    uri="oci://registry.example.com/models/minilm@sha256:" + "4" * 64,
    digest="sha256:" + "4" * 64,
    weights_digest="sha256:" + "5" * 64,
    size_bytes=1000,
    formats=["safetensors"],
    lineage=LINEAGE,
)
_SPEED = Speed(
    p50_milliseconds="2.1", p95_milliseconds="3", p99_milliseconds="4", items_per_second="340"
)


def spec(**changes: Any) -> DistillationJobSpec:
    """Return a valid spec; changes replace top-level fields, in camelCase."""
    return DistillationJobSpec.model_validate(SPEC | changes)


def an_evaluation(verdict: str = "Passed") -> EvaluationStatus:
    """Return what an evaluate stage reports."""
    score = Score(
        measure="nDCG@10",
        student="0.62",
        teacher="0.637",
        retention="0.9733",
        retention_low="0.96",
        retention_high="0.98",
    )
    return EvaluationStatus.model_validate(
        {
            "verdict": verdict,
            "explanation": f"nDCG@10 keeps 97.3 %: {verdict.lower()}.",
            "scores": [score.model_dump(by_alias=True)],
            "student": _SPEED.model_dump(by_alias=True),
            "teacher": _SPEED.model_dump(by_alias=True),
            "speedup": "3.41",
            "studentParameters": 11_000_000,
            "teacherParameters": 22_000_000,
            "queries": 300,
            "documents": 3000,
        }
    )


def a_load(**changes: Any) -> ServedLoad:
    """Return what was measured of a server under load; changes replace fields."""
    made = ServedLoad(
        requests=2000,
        failures=3,
        p50_milliseconds="7.125",
        p95_milliseconds="12.250",
        p99_milliseconds="31.500",
        requests_per_second="49.71",
        peak_memory_bytes=700 * 2**20,
    )
    return made.model_copy(update=changes)


def a_stage_job(stage: Stage, attempt: int = 0, **changes: Any) -> ObservedStageJob:
    """Return a stage's Job as it is seen; by default its first pod is active."""
    made = ObservedStageJob(
        name=f"{stage.lower()}-{attempt}",
        uid=f"job-{stage}-{attempt}",
        stage=stage,
        attempt=attempt,
        created=NOW - timedelta(minutes=1),
        suspended=False,
        active=1,
        failed=0,
        succeeded=0,
        complete=False,
        finished=None,
        failure=None,
        deleting=False,
        settings_digest="",
    )
    return replace(made, **changes)


def a_pod(stage: Stage, **changes: Any) -> ObservedPod:
    """Return a pod of a stage as it is seen; by default it runs."""
    made = ObservedPod(
        name=f"{stage.lower()}-0-0",
        uid=f"pod-{stage}-0-0",
        stage=stage,
        attempt=0,
        job_name=f"{stage.lower()}-0",
        created=NOW - timedelta(seconds=50),
        phase="Running",
        node="node-1",
        deleting=False,
        disrupted=False,
        unschedulable=None,
        waiting=None,
        started=NOW - timedelta(seconds=40),
        finished=None,
        exit_code=None,
        exit_reason=None,
        termination_message=None,
    )
    return replace(made, **changes)


def a_report(stage: Stage, **changes: Any) -> Report:
    """Return the report of a stage that is done."""
    extra: dict[Stage, dict[str, Any]] = {
        Stage.EVALUATE: {"evaluation": an_evaluation()},
        Stage.PUBLISH: {"artifact": ARTIFACT},
    }
    base: dict[str, Any] = {
        "stage": stage,
        "outcome": "Done",
        "fingerprint": f"sha256:{stage.lower()}",
        "summary": f"{stage} did its work.",
        "usage": Usage(seconds="10", cpu_seconds="18"),
    }
    return Report(**(base | extra.get(stage, {}) | changes))


def a_failure(stage: Stage, reason: Reason, message: str, *, final: bool) -> Report:
    """Return the report of a stage that could not be done."""
    outcome = "GiveUp" if final else "TryAgain"
    return Report(stage=stage, outcome=outcome, failure=Failure(reason=reason, message=message))


def message(report: Report) -> str:
    """Return a report as the termination message it becomes."""
    return report.model_dump_json(by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class World:
    """A frozen observation that grows by sentences."""

    seen: Observed

    def with_spec(self, **changes: Any) -> World:
        """Replace top-level fields of the spec (camelCase); the generation rises."""
        old = self.seen.job.spec
        assert old is not None
        body = old.model_dump(mode="json", by_alias=True, exclude_none=True) | changes
        new = DistillationJobSpec.model_validate({k: v for k, v in body.items() if v is not None})
        generation = self.seen.job.generation + 1
        return self._job(spec=new, generation=generation)

    def with_status(self, status: JobStatus) -> World:
        """Replace the status, as writing it does."""
        return self._job(status=status)

    def deleting(self, *finalizers: str) -> World:
        """Mark the object as deleted, held by these finalizers."""
        return self._job(deleting=True, finalizers=finalizers)

    def after(self, *done: Stage) -> World:
        """Record stages as complete in status."""
        entries = [
            StageStatus(
                name=stage,
                state=StageState.COMPLETE if stage in done else StageState.PENDING,
                job_name=naming.stage_job(self.seen.job, stage, 0) if stage in done else None,
                start_time=NOW - timedelta(minutes=5) if stage in done else None,
                completion_time=NOW - timedelta(minutes=4) if stage in done else None,
            )
            for stage in stages.wanted(self._spec())
        ]
        kept = {"evaluation": an_evaluation()} if Stage.EVALUATE in done else {}
        return self.with_status(self.seen.job.status.model_copy(update={"stages": entries} | kept))

    def with_stage_job(self, stage: Stage, *, attempt: int = 0, **changes: Any) -> World:
        """Add a stage's Job; by default it is active and made from the present settings."""
        told = {
            "name": naming.stage_job(self.seen.job, stage, attempt),
            "settings_digest": revision.digest(self._spec()),
        }
        made = a_stage_job(stage, attempt, **(told | changes))
        return World(replace(self.seen, stage_jobs=(*self.seen.stage_jobs, made)))

    def with_pod(self, stage: Stage, *, attempt: int = 0, **changes: Any) -> World:
        """Add a pod; by default it runs."""
        own = f"{attempt}-{len(self.seen.pods)}"
        told = {
            "name": f"{stage.lower()}-{own}",
            "uid": f"pod-{stage}-{own}",
            "attempt": attempt,
            "job_name": naming.stage_job(self.seen.job, stage, attempt),
        }
        made = a_pod(stage, **(told | changes))
        return World(replace(self.seen, pods=(*self.seen.pods, made)))

    def done(self, stage: Stage, *, attempt: int = 0, **changes: Any) -> World:
        """Add a stage's complete Job and the pod that reported it."""
        told = changes.pop("report", a_report(stage))
        job = {"complete": True, "active": 0, "succeeded": 1, "finished": NOW}
        return self.with_stage_job(stage, attempt=attempt, **job).with_pod(
            stage,
            attempt=attempt,
            phase="Succeeded",
            exit_code=0,
            exit_reason="Completed",
            finished=NOW - timedelta(seconds=5),
            termination_message=message(told),
            **changes,
        )

    def with_claim(self, name: str, *, owned: bool, phase: str = "Bound") -> World:
        """Add a claim."""
        claim = ObservedClaim(name=name, phase=phase, owned=owned, deleting=False)
        return World(replace(self.seen, claims=(*self.seen.claims, claim)))

    def with_progress(self, stage: Stage, pushed: ObservedProgress) -> World:
        """Add the latest push of a stage."""
        return World(replace(self.seen, progress={**self.seen.progress, stage: pushed}))

    def refused(self, kind: str, name: str, why: str) -> World:
        """Add a child that the API server would not take."""
        refusal = RefusedChild(kind=kind, name=name, message=why)
        return World(replace(self.seen, refused=(*self.seen.refused, refusal)))

    def _job(self, **changes: Any) -> World:
        return World(replace(self.seen, job=replace(self.seen.job, **changes)))

    def _spec(self) -> DistillationJobSpec:
        assert self.seen.job.spec is not None
        return self.seen.job.spec


def a_job(name: str = "minilm", **changes: Any) -> World:
    """Return a job that was just created; changes replace top-level fields of its spec."""
    job = ObservedJob(
        namespace="team-a",
        name=name,
        uid=UID,
        generation=1,
        resource_version="1",
        created=NOW - timedelta(minutes=2),
        deleting=False,
        finalizers=(),
        spec=spec(**changes),
        spec_error=None,
        status=JobStatus(),
    )
    return World(Observed(job=job))


def look(stage: Stage, world: World) -> Sighting:
    """Return what the planner sees of a stage that has no entry in status yet."""
    entry = StageStatus(name=stage, state=StageState.PENDING)
    return sight.look(stage, entry, world.seen, now=NOW)
