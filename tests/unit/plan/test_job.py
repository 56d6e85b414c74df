"""One pass over a job: which children, which status, which news."""

from datetime import timedelta
from typing import Any

import jobs
import pytest
from distill_api.names import ConditionType, Reason, Stage, StageState
from distill_api.status import JobStatus, SweepStatus
from distill_operator.plan import conditions, naming
from distill_operator.plan import job as planning
from distill_operator.plan.model import Plan
from jobs import NOW, SETTINGS, World, a_job
from world import a_world


def plan(world: World, *, seconds: float = 0) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW + timedelta(seconds=seconds))


def job_names(found: Plan) -> list[str]:
    return [c["metadata"]["name"] for c in found.children if c["kind"] == "Job"]


def made(found: Plan) -> list[str]:
    """Return the Jobs that the plan would make: the ones with a pod template."""
    return [
        c["metadata"]["name"]
        for c in found.children
        if c["kind"] == "Job" and "template" in c["spec"]
    ]


def values(status: JobStatus) -> dict[str, str]:
    return {condition.type.value: condition.status for condition in status.conditions}


def ready(found: Plan) -> conditions.Condition:
    condition = conditions.find(found.status, ConditionType.READY)
    assert condition is not None
    return condition


def entry(found: Plan, stage: Stage) -> Any:
    return next(s for s in found.status.stages if s.name is stage)


def test_a_new_job_gets_its_claims_and_its_first_stage():
    found = plan(a_job())
    assert [c["metadata"]["name"] for c in found.children] == [
        "minilm-workspace-0a1b2c3d",
        "kubedistill-labels",
        "minilm-label-0a1b2c3d-0",
    ]
    assert [s.state for s in found.status.stages] == [StageState.PENDING] * 5
    assert found.status.observed_generation == 1
    assert found.status.phase == "Pending"
    assert found.status.workspace == f"pvc://minilm-workspace-0a1b2c3d/{jobs.UID}"
    assert found.finalizers == ()


def test_the_first_pass_sets_every_condition():
    assert values(plan(a_job()).status) == {
        "Succeeded": "Unknown",
        "Ready": "False",
        "Reconciling": "True",
        "Stalled": "False",
        "Suspended": "False",
        "Scheduled": "Unknown",
    }


@pytest.mark.parametrize(
    ("done", "following"),
    [
        (Stage.LABEL, Stage.PREPARE),
        (Stage.PREPARE, Stage.TRAIN),
        (Stage.TRAIN, Stage.EVALUATE),
        (Stage.EVALUATE, Stage.PUBLISH),
    ],
)
def test_a_stage_that_is_done_is_followed_by_the_next(done: Stage, following: Stage):
    order = [Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE]
    world = a_job().after(*order[: order.index(done)]).done(done)
    found = plan(world)
    assert entry(found, done).state is StageState.COMPLETE
    assert made(found) == [naming.stage_job(world.seen.job, following, 0)]


def test_quantize_follows_train_only_when_it_is_asked_for():
    world = a_job(quantize={"method": "INT8"}).after(Stage.LABEL, Stage.PREPARE).done(Stage.TRAIN)
    assert made(plan(world)) == ["minilm-quantize-0a1b2c3d-0"]


def test_a_job_is_not_complete_before_its_job_controller_says_so():
    world = a_job().done(Stage.LABEL)
    early = jobs.replace(world.seen.stage_jobs[0], complete=False, active=1)
    found = plan(World(jobs.replace(world.seen, stage_jobs=(early,))))
    assert entry(found, Stage.LABEL).state is not StageState.COMPLETE
    assert job_names(found) == ["minilm-label-0a1b2c3d-0"]


def test_a_complete_stage_whose_job_and_pods_vanished_does_not_run_again():
    found = plan(a_job().after(Stage.LABEL, Stage.PREPARE))
    assert made(found) == ["minilm-train-0a1b2c3d-0"]


def test_a_job_that_vanished_before_it_was_done_is_made_under_the_same_name():
    world = a_job().with_stage_job(Stage.LABEL).with_pod(Stage.LABEL)
    world = World(jobs.replace(world.with_status(plan(world).status).seen, stage_jobs=(), pods=()))
    assert made(plan(world)) == ["minilm-label-0a1b2c3d-0"]


def test_the_pods_of_a_vanished_job_are_waited_for():
    world = a_job().with_pod(Stage.LABEL, deleting=True)
    found = plan(world)
    assert made(found) == []
    assert "waits for pod label-0-0 to end" in entry(found, Stage.LABEL).message
    assert found.look_again is not None


def test_a_pod_that_was_deleted_is_told_and_replaced():
    world = (
        a_job().with_stage_job(Stage.TRAIN, failed=1, active=0).after(Stage.LABEL, Stage.PREPARE)
    )
    found = plan(world)
    assert entry(found, Stage.TRAIN).state is StageState.RETRYING
    assert "ended early and is gone" in found.news[0].message
    assert len(found.news) == 1


def test_a_pod_on_a_lost_node_is_waited_for_with_a_sentence():
    world = a_job().with_stage_job(Stage.LABEL).with_pod(Stage.LABEL, deleting=True)
    found = plan(world)
    assert entry(found, Stage.LABEL).state is StageState.RETRYING
    assert "on node node-1 is being removed" in ready(found).message
    assert made(found) == []


def test_a_report_that_is_gone_leads_to_the_next_attempt():
    done: dict[str, Any] = {"complete": True, "active": 0, "finished": NOW - timedelta(seconds=30)}
    world = a_job().with_stage_job(Stage.LABEL, **done)
    found = plan(world)
    assert made(found) == ["minilm-label-0a1b2c3d-1"]
    assert entry(found, Stage.LABEL).attempt == 1
    assert [n.reason for n in found.news] == [Reason.STAGE_RETRYING]
    assert ready(found).reason is Reason.REPORT_LOST


def test_a_report_that_may_still_come_is_waited_for():
    done: dict[str, Any] = {"complete": True, "active": 0, "finished": NOW - timedelta(seconds=2)}
    found = plan(a_job().with_stage_job(Stage.LABEL, **done))
    assert made(found) == []
    assert found.look_again == timedelta(seconds=3)


def test_a_pod_that_ends_well_without_a_report_is_tried_again_and_then_given_up():
    ended: dict[str, Any] = {"complete": True, "active": 0, "finished": NOW}
    pod: dict[str, Any] = {"phase": "Succeeded", "exit_code": 0, "termination_message": "hello"}
    first = a_job(retries=1).with_stage_job(Stage.LABEL, **ended).with_pod(Stage.LABEL, **pod)
    assert made(plan(first)) == ["minilm-label-0a1b2c3d-1"]
    second = first.with_stage_job(Stage.LABEL, attempt=1, **ended)
    second = second.with_pod(Stage.LABEL, attempt=1, **pod)
    found = plan(second)
    assert made(found) == []
    assert values(found.status)["Stalled"] == "True"
    assert "podTemplate.image" in ready(found).message


def test_a_report_that_comes_late_counts_and_stops_the_attempt_after_it():
    world = a_job().done(Stage.LABEL).with_stage_job(Stage.LABEL, attempt=1)
    found = plan(world)
    assert entry(found, Stage.LABEL).state is StageState.COMPLETE
    assert "minilm-label-0a1b2c3d-1" not in job_names(found)
    assert made(found) == []  # the next stage waits until that Job has gone


def test_giving_up_fails_the_job_with_the_sentence_of_the_report():
    told = jobs.a_failure(Stage.LABEL, Reason.BAD_DATA, "Row 7 has no query.", final=True)
    world = (
        a_job()
        .with_stage_job(Stage.LABEL, active=0, failed=1, failure=("PodFailurePolicy", "exit 78"))
        .with_pod(Stage.LABEL, phase="Failed", exit_code=78, termination_message=jobs.message(told))
    )
    found = plan(world)
    assert values(found.status) == {
        "Succeeded": "False",
        "Ready": "False",
        "Reconciling": "False",
        "Stalled": "True",
        "Suspended": "False",
        "Scheduled": "True",
    }
    assert (ready(found).reason, ready(found).message) == (Reason.BAD_DATA, "Row 7 has no query.")
    assert found.status.completion_time == NOW
    assert found.status.progress == "Label failed: BadData"
    assert made(found) == []
    assert job_names(found) == ["minilm-label-0a1b2c3d-0"]  # for its logs
    assert [(n.kind, n.reason) for n in found.news] == [
        ("Normal", Reason.STAGE_STARTED),
        ("Warning", Reason.BAD_DATA),
    ]


def a_failed_job() -> World:
    world = a_job().with_stage_job(
        Stage.LABEL, active=0, failed=1, failure=("BackoffLimitExceeded", "limit reached")
    )
    world = world.with_pod(Stage.LABEL, phase="Failed", exit_code=137, exit_reason="OOMKilled")
    return world.with_status(plan(world).status)


def test_a_failed_job_stays_as_it_is():
    world = a_failed_job()
    found = plan(world, seconds=3600)
    assert found.status == world.seen.job.status
    assert found.news == ()
    assert made(found) == []


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("suspending stops what runs, nothing runs", {"suspend": True}),
        ("the time to live is no setting of the pods", {"ttlSecondsAfterFinished": 99999}),
        ("prices change what it cost, not whether it worked", {"prices": {"cpuHour": 1.0}}),
    ],
)
def test_edits_that_cannot_help_do_not_restart_a_failed_job(why: str, changes: dict[str, Any]):
    world = a_failed_job().with_spec(**changes)
    found = plan(world)
    assert made(found) == [], why
    assert values(found.status)["Succeeded"] == "False"
    assert found.status.observed_generation == 2
    assert {c.observed_generation for c in found.status.conditions} == {2}


def test_more_memory_restarts_a_failed_job():
    more = {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "8Gi"}}}
    found = plan(a_failed_job().with_spec(podTemplate=more))
    assert made(found) == ["minilm-label-0a1b2c3d-1"]
    assert values(found.status)["Succeeded"] == "Unknown"
    assert found.status.completion_time is None
    assert entry(found, Stage.LABEL).attempt == 1


def test_a_failed_job_that_is_suspended_begins_anew_only_when_it_is_resumed():
    more = {"resources": {"limits": {"memory": "8Gi"}}}
    held = a_failed_job().with_spec(podTemplate=more, suspend=True)
    found = plan(held)
    assert made(found) == []
    assert values(found.status)["Succeeded"] == "False"
    resumed = held.with_status(found.status).with_spec(suspend=False)
    assert made(plan(resumed)) == ["minilm-label-0a1b2c3d-1"]


def test_a_restart_is_remembered_by_its_job_even_if_the_status_was_lost():
    more = {"resources": {"limits": {"memory": "8Gi"}}}
    world = a_failed_job().with_spec(podTemplate=more).with_stage_job(Stage.LABEL, attempt=1)
    found = plan(world)
    assert made(found) == []
    assert "minilm-label-0a1b2c3d-1" in job_names(found)
    assert entry(found, Stage.LABEL).attempt == 1


def test_a_job_whose_pod_never_ran_is_replaced_when_its_image_is_corrected():
    stuck = a_job().with_stage_job(Stage.LABEL)
    stuck = stuck.with_pod(Stage.LABEL, phase="Pending", started=None, waiting=("ErrImagePull", ""))
    found = plan(stuck.with_spec(podTemplate={"image": "good"}))
    assert job_names(found) == []
    assert entry(found, Stage.LABEL).attempt == 1


def test_a_running_pod_is_left_alone_by_a_change_of_settings():
    running = a_job().with_stage_job(Stage.LABEL).with_pod(Stage.LABEL)
    found = plan(running.with_spec(podTemplate={"image": "newer"}))
    assert job_names(found) == ["minilm-label-0a1b2c3d-0"]
    assert entry(found, Stage.LABEL).state is StageState.RUNNING


def test_what_a_sweep_found_stays_in_status_after_its_pod_is_gone():
    trial = {"number": 3, "state": "Complete", "parameters": [{"name": "seed", "value": "7"}]}
    told = SweepStatus.model_validate(
        {"measure": "nDCG@10", "trials": 4, "best": 3, "leaders": [trial | {"score": "0.51"}]}
    )
    world = a_job().after(Stage.LABEL, Stage.PREPARE)
    swept = jobs.a_report(Stage.TRAIN, sweep=told)
    found = plan(world.done(Stage.TRAIN, report=swept))
    assert found.status.sweep == told
    again = plan(world.with_status(found.status).after(Stage.TRAIN))
    assert again.status.sweep == told


def test_a_missed_gate_stops_the_job_before_publishing():
    missed = jobs.a_report(Stage.EVALUATE, evaluation=jobs.an_evaluation("Missed"))
    world = a_job().after(Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
    found = plan(world.done(Stage.EVALUATE, report=missed))
    assert made(found) == []
    assert values(found.status)["Succeeded"] == "False"
    assert ready(found).reason is Reason.QUALITY_GATE_FAILED
    assert "Nothing was published" in ready(found).message
    assert found.status.evaluation is not None
    assert entry(found, Stage.PUBLISH).state is StageState.PENDING


def test_a_missed_gate_may_be_published_on_request():
    missed = jobs.a_report(Stage.EVALUATE, evaluation=jobs.an_evaluation("Missed"))
    world = a_job(evaluation={"onMissedGate": "Publish"})
    world = world.after(Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
    assert made(plan(world.done(Stage.EVALUATE, report=missed))) == ["minilm-publish-0a1b2c3d-0"]


def test_a_published_student_ends_the_job():
    world = a_job().after(Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE)
    found = plan(world.done(Stage.PUBLISH))
    assert values(found.status) == {
        "Succeeded": "True",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Suspended": "False",
        "Scheduled": "Unknown",
    }
    assert found.status.artifact == jobs.ARTIFACT
    assert found.status.retention == "97.3%"
    assert found.status.speedup == "3.4x"
    assert "97.3% of the teacher's quality at 3.4x its speed" in ready(found).message
    assert found.news[-1].reason is Reason.SUCCEEDED


def test_a_refused_child_is_said_in_a_condition():
    world = a_job().refused("Job", "minilm-label-0a1b2c3d-0", 'exceeded quota "small"')
    found = plan(world)
    assert ready(found).reason is Reason.CHILD_REFUSED
    assert 'exceeded quota "small"' in ready(found).message
    assert made(found) == ["minilm-label-0a1b2c3d-0"]  # tried again
    assert found.look_again == timedelta(seconds=30)


def test_a_spec_that_cannot_be_read_touches_nothing():
    world = a_job().with_stage_job(Stage.LABEL)
    broken = jobs.replace(world.seen.job, spec=None, spec_error="spec.teacher: Field required")
    found = plan(World(jobs.replace(world.seen, job=broken)))
    assert job_names(found) == ["minilm-label-0a1b2c3d-0"]
    assert ready(found).reason is Reason.INVALID_SPEC
    assert "spec.teacher: Field required" in ready(found).message
    assert values(found.status)["Stalled"] == "True"
    assert values(found.status)["Succeeded"] == "Unknown"


def test_a_finished_job_is_deleted_after_its_time_to_live():
    world = a_world(ttlSecondsAfterFinished=1000)
    world.run()
    assert world.job.status.phase == "Succeeded"
    assert not world.gone
    world.later(1000)
    assert [news.reason for news in world.turn().news] == [Reason.EXPIRED]
    assert world.gone


def test_the_time_to_live_is_looked_at_when_it_is_over():
    world = a_failed_job().with_spec(ttlSecondsAfterFinished=100)
    assert plan(world, seconds=40).look_again == timedelta(seconds=60)
    assert not plan(world, seconds=99).delete_job
    assert plan(world, seconds=100).delete_job


def test_a_whole_life_makes_each_job_once_and_comes_to_rest():
    world = a_world()
    world.run()
    assert world.made == [
        (stage, 0)
        for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)
    ]
    assert world.job.status.phase == "Succeeded"
    at_rest = planning.plan(world.seen(), SETTINGS, now=world.now + timedelta(days=1))
    assert at_rest.status == world.job.status
    assert (at_rest.news, at_rest.look_again, at_rest.delete_job) == ((), None, False)
    assert len([told for told in world.told if "is complete" in told]) == 5


def test_a_stage_that_fails_twice_is_done_at_the_third_try_of_one_job():
    world, tries = a_world(), []

    def work(pod: jobs.ObservedPod) -> None:
        tries.append(pod.stage)
        if tries.count(Stage.TRAIN) in (1, 2) and pod.stage is Stage.TRAIN:
            world.fail(pod, final=False)
        else:
            world.succeed(pod)

    world.run(work)
    assert world.made.count((Stage.TRAIN, 0)) == 1
    assert [s.failures for s in world.job.status.stages] == [None, None, 2, None, None]
    assert len([told for told in world.told if "Train is tried again" in told]) == 2
    assert world.job.status.phase == "Succeeded"
