"""Every observation gets a plan, however unlikely it is: a planner that raises helps nobody."""

from datetime import timedelta

import hypothesis.strategies as st
import jobs
from distill_api.names import Reason, Stage
from distill_api.status import JobStatus, Metric, Usage
from distill_api.wire import Report, TrainerStatus
from distill_operator.plan import job as planning
from distill_operator.plan.model import (
    Observed,
    ObservedClaim,
    ObservedPod,
    ObservedProgress,
    ObservedStageJob,
    RefusedChild,
)
from hypothesis import HealthCheck, given, settings

times = st.integers(-3600, 60).map(lambda seconds: jobs.NOW + timedelta(seconds=seconds))
maybe = st.none() | st.text(max_size=40)
attempts = st.integers(0, 3)
stages = st.sampled_from(Stage)
numbers = st.sampled_from(["0", "1", "-3.5", "1e300", "1e999", "99999999999999999999"])
usages = st.builds(
    Usage,
    seconds=st.none() | numbers,
    cpu_seconds=st.none() | numbers,
    gpu_seconds=st.none() | numbers,
    teacher_tokens=st.none() | st.integers(0, 2**53 - 1),
)
FACTS = ["train", "validation", "test", "outliers", "steps", "converged", "curvePoints"]
facts = st.dictionaries(st.sampled_from(FACTS), st.sampled_from(["7", "true", "nan", "?", "1e400"]))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    stage = draw(stages)
    if draw(st.booleans()):
        reason = draw(st.sampled_from(Reason))
        told = jobs.a_failure(stage, reason, draw(st.text(max_size=99)), final=draw(st.booleans()))
        return told.model_copy(update={"usage": draw(usages)})
    return jobs.a_report(stage, usage=draw(usages), facts=draw(facts), reused=draw(st.booleans()))


messages = maybe | reports().map(jobs.message)
pods = st.builds(
    ObservedPod,
    name=st.sampled_from(["p1", "p2", "p3"]),
    uid=st.sampled_from(["u1", "u2", "u3"]),
    stage=stages,
    attempt=attempts,
    job_name=st.sampled_from(["j1", "j2", ""]),
    created=times,
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    node=maybe,
    deleting=st.booleans(),
    disrupted=st.booleans(),
    unschedulable=maybe,
    waiting=st.none() | st.tuples(st.sampled_from(["ErrImagePull", "Odd"]), st.text(max_size=9)),
    started=st.none() | times,
    finished=st.none() | times,
    exit_code=st.none() | st.sampled_from([0, 1, 75, 78, 137]),
    exit_reason=st.none() | st.sampled_from(["OOMKilled", "Error", "Evicted"]),
    termination_message=messages,
    mount_problem=maybe,
)
stage_jobs = st.builds(
    ObservedStageJob,
    name=st.sampled_from(["j1", "j2", "minilm-label-0a1b2c3d-0"]),
    uid=st.sampled_from(["u1", "u2"]),
    stage=stages,
    attempt=attempts,
    created=times,
    suspended=st.booleans(),
    active=st.integers(0, 1),
    failed=st.integers(0, 5),
    succeeded=st.integers(0, 1),
    complete=st.booleans(),
    finished=st.none() | times,
    failure=st.none()
    | st.tuples(st.sampled_from(["DeadlineExceeded", "PodFailurePolicy", "New"]), st.text()),
    deleting=st.booleans(),
    settings_digest=st.none() | st.just("old"),
)
pushes = st.builds(
    ObservedProgress,
    pod_uid=st.sampled_from(["u1", "u2"]),
    received=times,
    status=st.builds(
        TrainerStatus,
        progress_percentage=st.none() | st.integers(0, 100),
        estimated_remaining_seconds=st.none() | st.integers(0, 10**9),
        metrics=st.none()
        | st.lists(st.just(Metric(name="checkpointStep", value="50")), max_size=64),
    ),
)
SPECS = [
    jobs.spec(),
    jobs.spec(suspend=True, queueName="q", retries=0),
    jobs.spec(
        workspace={"uri": "s3://b/w"},
        ttlSecondsAfterFinished=10,
        prices={"cpuHour": 1.0, "teacherMillionRequests": 1e300, "dailyRequests": 2_000_000_000},
    ),
    jobs.spec(
        quantize={"method": "INT8"},
        prices={
            "teacherMillionRequests": 1e300,
            "studentMillionRequests": 1e-300,
            "dailyRequests": 1,
        },
    ),
    None,
]


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    job = jobs.replace(
        jobs.a_job().seen.job,
        spec=draw(st.sampled_from(SPECS)),
        spec_error=draw(maybe),
        deleting=draw(st.booleans()),
        finalizers=draw(st.sampled_from([(), ("kubedistill.io/workspace",)])),
        generation=draw(st.integers(1, 3)),
    )
    claim = ObservedClaim("c", draw(st.sampled_from(["Pending", "Bound", "Lost"])), True, False)
    return Observed(
        job=job,
        stage_jobs=tuple(draw(st.lists(stage_jobs, max_size=3))),
        pods=tuple(draw(st.lists(pods, max_size=3))),
        claims=draw(st.sampled_from([(), (claim,)])),
        progress=draw(st.dictionaries(stages, pushes, max_size=2)),
        refused=draw(st.sampled_from([(), (RefusedChild("Job", "x", "no"),)])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=observations(), second=observations())
def test_every_observation_gets_a_plan_that_can_be_written(first: Observed, second: Observed):
    """The second observation meets the status that the first one left."""
    one = planning.plan(first, jobs.SETTINGS, now=jobs.NOW)
    status = JobStatus.model_validate_json(one.status.model_dump_json(by_alias=True))
    later = jobs.replace(second, job=jobs.replace(second.job, status=status))
    two = planning.plan(later, jobs.SETTINGS, now=jobs.NOW + timedelta(seconds=30))
    assert JobStatus.model_validate_json(two.status.model_dump_json(by_alias=True)) == two.status
    assert all(len(news.message) <= 1000 for news in two.news)
    assert two.look_again is None or two.look_again >= timedelta(0)
