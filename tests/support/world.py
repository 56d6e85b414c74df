"""A world in memory that the planner works on: API server, Job controller and kubelet as data.

Only what the planner relies on: names are unique, a Job has one working pod at a time, a suspended
Job has none, a deleted Job's pods end later, a failed pod is replaced until the backoff limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import jobs
from distill_api.names import Annotation, Exit, Label, Reason, Stage
from distill_api.status import JobStatus
from distill_api.wire import Report
from distill_operator.plan import job as planning
from distill_operator.plan.model import (
    Manifest,
    Observed,
    ObservedClaim,
    ObservedJob,
    ObservedPod,
    ObservedProgress,
    ObservedStageJob,
    Plan,
)

ENDED = ("Succeeded", "Failed")


@dataclass(slots=True)
class World:
    """Everything that exists, and what was done to it."""

    job: ObservedJob
    now: datetime = jobs.NOW
    jobs: dict[str, ObservedStageJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    claims: dict[str, ObservedClaim] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """The manifest that each Job was made from."""
    progress: dict[Stage, ObservedProgress] = field(default_factory=dict)
    made: list[tuple[Stage, int]] = field(default_factory=list)
    """Every Job that was ever made."""
    told: list[str] = field(default_factory=list)
    gone: bool = False
    count: int = 0

    def seen(self) -> Observed:
        """Return what an observer sees now."""
        return Observed(
            job=self.job,
            stage_jobs=tuple(self.jobs.values()),
            pods=tuple(self.pods.values()),
            claims=tuple(self.claims.values()),
            progress=dict(self.progress),
        )

    # The operator.

    def turn(self, *, status_is_lost: bool = False) -> Plan:
        """Plan and converge; a lost status stands for an operator that dies in between."""
        plan = planning.plan(self.seen(), jobs.SETTINGS, now=self.now)
        self._hold(plan)
        self._delete_unwanted(plan)
        self._make_wanted(plan)
        if not status_is_lost:
            self._report(plan)
        return plan

    def _hold(self, plan: Plan) -> None:
        self.job = replace(self.job, finalizers=plan.finalizers)
        self.gone = plan.delete_job or (self.job.deleting and not plan.finalizers)

    def _delete_unwanted(self, plan: Plan) -> None:
        wanted = {child["metadata"]["name"] for child in plan.children}
        for name in [name for name in self.jobs if name not in wanted]:
            self.delete_job(name)
        for name in [n for n, claim in self.claims.items() if claim.owned and n not in wanted]:
            del self.claims[name]

    def _make_wanted(self, plan: Plan) -> None:
        for child in plan.children:
            name = child["metadata"]["name"]
            if child["kind"] == "PersistentVolumeClaim" and name not in self.claims:
                owned = "ownerReferences" in child["metadata"]
                self.claims[name] = ObservedClaim(name, "Bound", owned, deleting=False)
            elif child["kind"] == "Job" and name not in self.jobs:
                self._make_job(child)
            elif child["kind"] == "Job":
                suspended = bool(child["spec"]["suspend"])
                self.jobs[name] = replace(self.jobs[name], suspended=suspended)

    def _make_job(self, manifest: Manifest) -> None:
        labels, name = manifest["metadata"]["labels"], manifest["metadata"]["name"]
        stage, attempt = Stage(labels[Label.STAGE]), int(labels[Label.ATTEMPT])
        self.made.append((stage, attempt))
        self.manifests[name] = manifest
        self.jobs[name] = jobs.a_stage_job(
            stage,
            attempt,
            name=name,
            uid=self._uid(),
            created=self.now,
            suspended=manifest["spec"]["suspend"],
            active=0,
            settings_digest=manifest["metadata"]["annotations"][Annotation.SETTINGS],
        )

    def _report(self, plan: Plan) -> None:
        # Through JSON, as the API server keeps it.
        text = plan.status.model_dump_json(by_alias=True, exclude_none=True)
        self.job = replace(self.job, status=JobStatus.model_validate_json(text))
        self.told += [news.message for news in plan.news]

    # The Job controller.

    def control(self) -> None:
        """Let the Job controller do what is due."""
        for job in list(self.jobs.values()):
            own = [pod for pod in self.pods.values() if pod.job_name == job.name]
            if job.complete or job.failure is not None:
                continue
            self.jobs[job.name] = self._judged(job, own)
            self._pods_of(self.jobs[job.name], own)

    def _judged(self, job: ObservedStageJob, own: list[ObservedPod]) -> ObservedStageJob:
        failed = [pod for pod in own if pod.phase == "Failed"]
        counted = max(job.failed, len(failed))
        job = replace(job, failed=counted)
        if any(pod.phase == "Succeeded" for pod in own):
            return replace(job, complete=True, succeeded=1, active=0, finished=self.now)
        if any(pod.exit_code == Exit.GIVE_UP for pod in failed):
            words = ("PodFailurePolicy", "Container trainer failed with exit code 78")
            return replace(job, failure=words, active=0, finished=self.now)
        limit = self.manifests[job.name]["spec"]["backoffLimit"]
        tries = counted - sum(pod.disrupted for pod in failed)
        if tries > limit:
            words = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            return replace(job, failure=words, active=0, finished=self.now)
        return job

    def _pods_of(self, job: ObservedStageJob, own: list[ObservedPod]) -> None:
        working = [pod for pod in own if pod.phase not in ENDED]
        if job.suspended or job.complete or job.failure is not None:
            for pod in working:
                self.pods[pod.name] = replace(pod, deleting=True)
        elif not working:
            self._make_pod(job)

    def _make_pod(self, job: ObservedStageJob) -> None:
        name = f"{job.name}-{self.count}"
        self.pods[name] = jobs.a_pod(
            job.stage,
            name=name,
            uid=self._uid(),
            attempt=job.attempt,
            job_name=job.name,
            created=self.now,
            phase="Pending",
            node=None,
            started=None,
        )

    def delete_job(self, name: str) -> None:
        """Delete a Job in the background: its pods are told to end."""
        del self.jobs[name]
        for pod in list(self.pods.values()):
            if pod.job_name == name and pod.phase not in ENDED:
                self.pods[pod.name] = replace(pod, deleting=True)
            elif pod.job_name == name:
                del self.pods[pod.name]

    # The kubelet.

    def working(self) -> Iterator[ObservedPod]:
        """Yield the pods that have not ended."""
        yield from [pod for pod in self.pods.values() if pod.phase not in ENDED]

    def start(self) -> None:
        """Start the containers of the pods that wait; end the pods that are to go."""
        for pod in self.working():
            if pod.deleting:
                self.vanish(pod)
            elif pod.phase == "Pending":
                self._change(pod, phase="Running", node="node-1", started=self.now)

    def succeed(self, pod: ObservedPod, report: Report | None = None) -> None:
        """End a pod well, with its report."""
        told = report or jobs.a_report(pod.stage)
        self._end(pod, "Succeeded", 0, jobs.message(told))

    def fail(self, pod: ObservedPod, *, final: bool) -> None:
        """End a pod with a report of failure."""
        reason = Reason.BAD_DATA if final else Reason.DATA_UNREACHABLE
        told = jobs.a_failure(pod.stage, reason, "The data is not there.", final=final)
        code = Exit.GIVE_UP if final else Exit.TRY_AGAIN
        self._end(pod, "Failed", code, jobs.message(told))

    def crash(self, pod: ObservedPod) -> None:
        """End a pod by a crash, with the last lines of its log."""
        self._end(pod, "Failed", 1, "Traceback\nRuntimeError: boom")

    def disrupt(self, pod: ObservedPod) -> None:
        """Take a pod from its node."""
        self._end(pod, "Failed", 137, "")
        self._change(self.pods[pod.name], disrupted=True)

    def vanish(self, pod: ObservedPod) -> None:
        """Remove a pod, whatever it left."""
        del self.pods[pod.name]

    def _end(self, pod: ObservedPod, phase: str, code: int, words: str) -> None:
        self._change(
            pod,
            phase=phase,
            exit_code=int(code),
            exit_reason="Completed" if code == 0 else "Error",
            finished=self.now,
            termination_message=words or None,
        )

    def _change(self, pod: ObservedPod, **changes: Any) -> None:
        self.pods[pod.name] = replace(pod, **changes)

    # The user and time.

    def edit(self, **changes: Any) -> None:
        """Change fields of the spec, in camelCase."""
        grown = jobs.World(self.seen()).with_spec(**changes)
        self.job = grown.seen.job

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def run(
        self,
        work: Callable[[ObservedPod], None] | None = None,
        *,
        admit: Callable[[], None] = lambda: None,
        rounds: int = 60,
    ) -> None:
        """Let everybody work without faults until nothing changes any more.

        work: how a running pod ends. admit: what Kueue does.
        """
        work = work or self.succeed
        for _ in range(rounds):
            before = self._shape()
            self.turn()
            admit()
            self.control()
            for pod in [pod for pod in self.working() if pod.phase == "Running"]:
                if not pod.deleting:
                    work(pod)
            self.start()
            self.control()
            self.later(20)
            if self._shape() == before or self.gone:
                return
        raise AssertionError(f"not settled after {rounds} rounds: {self.job.status}")

    def _shape(self) -> tuple[object, ...]:
        return (self.job, dict(self.jobs), dict(self.pods), dict(self.claims))

    def _uid(self) -> str:
        self.count += 1
        return f"uid-{self.count}"


def a_world(**changes: Any) -> World:
    """Return a world with one new job; changes replace top-level fields of its spec."""
    return World(job=jobs.a_job(**changes).seen.job)
