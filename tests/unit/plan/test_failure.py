"""Why pods and Jobs fail, in a reason and a sentence."""

from typing import Any

import jobs
import pytest
from distill_api.names import Reason, Stage
from distill_operator.plan import failure, report, waiting
from jobs import a_job

TOLD = jobs.a_failure(Stage.TRAIN, Reason.VOLUME_FULL, "The volume is full.", final=False)

PODS: list[tuple[str, dict[str, Any], Reason, str]] = [
    (
        "the report knows best",
        {"exit_code": 75, "termination_message": jobs.message(TOLD)},
        Reason.VOLUME_FULL,
        "The volume is full.",
    ),
    (
        "the kernel killed it for memory",
        {"exit_code": 137, "exit_reason": "OOMKilled"},
        Reason.OUT_OF_MEMORY,
        "limit of 4Gi: raise podTemplate.stageResources.train.limits.memory",
    ),
    (
        "its node was lost",
        {"exit_code": 137, "disrupted": True},
        Reason.EVICTED,
        "does not count as a try",
    ),
    (
        "it used too much scratch space, which counts",
        {"exit_reason": "Evicted", "termination_message": "ephemeral storage exceeds the limit"},
        Reason.EVICTED,
        "(ephemeral storage exceeds the limit)",
    ),
    (
        "it crashed and left a log",
        {"exit_code": 1, "termination_message": "line 1\nRuntimeError: boom"},
        Reason.CRASHED,
        "status 1. Its last words:\nline 1\nRuntimeError: boom",
    ),
    ("it was killed", {"exit_code": 137}, Reason.CRASHED, "status 137 (killed)"),
    ("it gave up silently", {"exit_code": 78}, Reason.CRASHED, "left no report"),
    ("nobody knows how it ended", {}, Reason.CRASHED, "an unknown status"),
]


@pytest.mark.parametrize(("why", "pod", "reason", "words"), PODS, ids=[c[0] for c in PODS])
def test_a_failed_pod(why: str, pod: dict[str, Any], reason: Reason, words: str):
    seen = a_job().with_pod(Stage.TRAIN, phase="Failed", **pod).seen
    assert seen.job.spec is not None
    found = failure.of_pod(seen.pods[0], seen.job.spec)
    assert (found.reason, words in found.message) == (reason, True), found.message


def test_a_long_log_is_cut_to_its_end():
    log = "\n".join(f"line {n}" for n in range(500)) + "\nValueError: the last line"
    seen = a_job().with_pod(Stage.TRAIN, phase="Failed", exit_code=1, termination_message=log).seen
    assert seen.job.spec is not None
    found = failure.of_pod(seen.pods[0], seen.job.spec)
    assert found.message.endswith("ValueError: the last line")
    assert "line 100" not in found.message


JOBS: list[tuple[str, tuple[str, str], bool, Reason, str]] = [
    (
        "the deadline is the Job's own",
        ("DeadlineExceeded", ""),
        True,
        Reason.DEADLINE_EXCEEDED,
        "7",
    ),
    ("tries are counted", ("BackoffLimitExceeded", ""), True, Reason.CRASHED, "(tried 4 times)"),
    ("giving up is no try", ("PodFailurePolicy", ""), True, Reason.CRASHED, "status 1"),
    ("no pod is left to ask", ("BackoffLimitExceeded", "limit"), False, Reason.CRASHED, "(limit)"),
]


@pytest.mark.parametrize(
    ("why", "condition", "with_pod", "reason", "words"), JOBS, ids=[c[0] for c in JOBS]
)
def test_a_failed_job(
    *, why: str, condition: tuple[str, str], with_pod: bool, reason: Reason, words: str
):
    world = a_job(stageDeadlineSeconds=7).with_stage_job(Stage.TRAIN, failed=4, failure=condition)
    if with_pod:
        world = world.with_pod(Stage.TRAIN, phase="Failed", exit_code=1)
    seen = world.seen
    assert seen.job.spec is not None
    found = failure.of_job(seen.stage_jobs[0], seen.pods, seen.job.spec)
    assert (found.reason, words in found.message) == (reason, True), found.message


WAITING: list[tuple[str, dict[str, Any], Reason | None, str]] = [
    ("it starts as it should", {}, None, ""),
    (
        "no node",
        {"unschedulable": "0/3 nodes: Insufficient cpu"},
        Reason.UNSCHEDULABLE,
        "finds no node: 0/3 nodes: Insufficient cpu. Free",
    ),
    (
        "no volume for the claim",
        {"unschedulable": "pod has unbound immediate PersistentVolumeClaims"},
        Reason.UNSCHEDULABLE,
        "PersistentVolumeClaim work has no volume",
    ),
    (
        "the named claim is not there",
        {"unschedulable": '0/1 nodes: persistentvolumeclaim "mine" not found.'},
        Reason.VOLUME_UNAVAILABLE,
        "there is no PersistentVolumeClaim mine",
    ),
    (
        "no image",
        {"waiting": ("ImagePullBackOff", "not found")},
        Reason.IMAGE_PULL_FAILED,
        "podTemplate.image",
    ),
    (
        "no Secret",
        {"mount_problem": 'MountVolume.SetUp failed: secret "x" not found'},
        Reason.SECRET_MISSING,
        "Create it",
    ),
    (
        "the volume is attached elsewhere",
        {"mount_problem": "Multi-Attach error for volume pvc-1"},
        Reason.VOLUME_UNAVAILABLE,
        "access mode",
    ),
    (
        "the container cannot start",
        {"waiting": ("CreateContainerError", "exec: no such file")},
        Reason.CRASHED,
        "exec: no such file",
    ),
    ("it is being made", {"waiting": ("ContainerCreating", "")}, None, ""),
    ("it runs already", {"phase": "Running", "unschedulable": "old words"}, None, ""),
]


@pytest.mark.parametrize(("why", "pod", "reason", "words"), WAITING, ids=[c[0] for c in WAITING])
def test_a_waiting_pod(why: str, pod: dict[str, Any], reason: Reason | None, words: str):
    world = a_job().with_claim("work", owned=True, phase="Pending")
    seen = world.with_pod(Stage.TRAIN, **({"phase": "Pending"} | pod)).seen
    found = waiting.of_pod(seen.pods[0], seen.claims)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert (found.reason, words in found.message) == (reason, True), found.message


REPORTS: list[tuple[str, str | None, bool]] = [
    ("nothing", None, False),
    ("a log line", "Traceback: boom", False),
    ("another stage's report", jobs.message(jobs.a_report(Stage.TRAIN)), False),
    ("another version's report", '{"version": "v9", "stage": "Label", "outcome": "Done"}', False),
    ("a report cut off", jobs.message(jobs.a_report(Stage.LABEL))[:-5], False),
    ("its own report", jobs.message(jobs.a_report(Stage.LABEL)), True),
]


@pytest.mark.parametrize(("why", "words", "readable"), REPORTS, ids=[c[0] for c in REPORTS])
def test_a_termination_message(*, why: str, words: str | None, readable: bool):
    pod = a_job().with_pod(Stage.LABEL, phase="Succeeded", termination_message=words).seen.pods[0]
    assert (report.read(pod) is not None) is readable
    assert (report.done(pod) is not None) is readable


@pytest.mark.parametrize("stage", [Stage.EVALUATE, Stage.PUBLISH])
def test_a_report_without_its_result_is_none(stage: Stage):
    empty = jobs.a_report(stage, evaluation=None, artifact=None)
    pod = a_job().with_pod(stage, phase="Succeeded", termination_message=jobs.message(empty))
    assert report.read(pod.seen.pods[0]) is None
