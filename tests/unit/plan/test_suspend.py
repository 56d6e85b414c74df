"""Suspending and resuming, by the user and by Kueue."""

from datetime import timedelta

from distill_api.names import ConditionType, Label, Reason, Stage, StageState
from distill_operator.plan import conditions
from distill_operator.plan import job as planning
from distill_operator.plan.model import Manifest, Plan
from jobs import NOW, SETTINGS, World, a_job
from world import a_world


def plan(world: World) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW)


def stage_jobs(found: Plan) -> dict[str, Manifest]:
    return {c["metadata"]["name"]: c for c in found.children if c["kind"] == "Job"}


def suspended(found: Plan) -> tuple[str, Reason]:
    condition = conditions.find(found.status, ConditionType.SUSPENDED)
    assert condition is not None
    return condition.status, condition.reason


def test_suspending_suspends_the_job_of_the_running_stage():
    world = a_job().with_stage_job(Stage.LABEL).with_pod(Stage.LABEL).with_spec(suspend=True)
    found = plan(world)
    assert stage_jobs(found)["minilm-label-0a1b2c3d-0"]["spec"] == {"suspend": True}
    assert suspended(found) == ("True", Reason.SUSPENDED)
    assert found.status.stages[0].state is StageState.SUSPENDED
    assert found.status.phase == "Suspended"
    assert found.status.progress == "Label suspended"
    assert found.news[-1].reason is Reason.SUSPENDED


def test_a_job_that_is_created_suspended_starts_nothing():
    found = plan(a_job(suspend=True))
    assert stage_jobs(found) == {}
    assert suspended(found)[0] == "True"


def test_resuming_clears_the_condition_and_the_job_goes_on():
    held = a_job().with_stage_job(Stage.LABEL, suspended=True, active=0).with_spec(suspend=True)
    held = held.with_status(plan(held).status)
    found = plan(held.with_spec(suspend=False))
    assert stage_jobs(found)["minilm-label-0a1b2c3d-0"]["spec"] == {"suspend": False}
    assert suspended(found) == ("False", Reason.ACCEPTED)
    assert [n.reason for n in found.news] == [Reason.RESUMED]


def test_a_stage_that_was_done_while_suspending_is_complete():
    found = plan(a_job(suspend=True).done(Stage.LABEL))
    assert found.status.stages[0].state is StageState.COMPLETE
    assert found.status.stages[1].state is StageState.SUSPENDED


def test_a_suspended_stage_whose_report_is_lost_waits():
    world = a_job(suspend=True).with_stage_job(Stage.LABEL, complete=True, active=0, finished=NOW)
    found = planning.plan(world.seen, SETTINGS, now=NOW + timedelta(minutes=1))
    assert list(stage_jobs(found)) == ["minilm-label-0a1b2c3d-0"]
    assert found.status.stages[0].state is StageState.SUSPENDED


def test_suspending_twice_tells_it_once():
    world = a_world()
    world.turn()
    world.edit(suspend=True)
    world.turn()
    world.turn()
    world.edit(suspend=False)
    world.turn()
    world.turn()
    assert [t for t in world.told if "spec.suspend" in t] == [
        "spec.suspend is true: Label goes on when it is false",
        "spec.suspend is false again: the job goes on",
    ]


def test_a_queued_job_is_created_suspended_with_the_label_of_its_queue():
    made = stage_jobs(plan(a_job(queueName="team")))["minilm-label-0a1b2c3d-0"]
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"][Label.QUEUE] == "team"


def test_kueue_alone_decides_when_a_queued_job_starts():
    waiting = a_job(queueName="team").with_stage_job(Stage.LABEL, suspended=True, active=0)
    found = plan(waiting)
    assert stage_jobs(found)["minilm-label-0a1b2c3d-0"]["spec"] == {"suspend": True}
    scheduled = conditions.find(found.status, ConditionType.SCHEDULED)
    assert scheduled is not None
    assert (scheduled.status, scheduled.reason) == ("False", Reason.QUEUED)
    assert found.status.progress == "Label waiting: QueuedByKueue"
    admitted = a_job(queueName="team").with_stage_job(Stage.LABEL, suspended=False)
    spec = stage_jobs(plan(admitted))["minilm-label-0a1b2c3d-0"]["spec"]
    assert spec == {"suspend": False}


def test_suspending_a_queued_job_removes_it_as_kueue_would_start_it_again():
    world = a_job(queueName="team").with_stage_job(Stage.LABEL).with_pod(Stage.LABEL)
    found = plan(world.with_spec(suspend=True))
    assert stage_jobs(found) == {}
    assert suspended(found)[0] == "True"


def test_without_a_queue_a_job_that_somebody_suspended_is_started_again():
    world = a_job().with_stage_job(Stage.LABEL, suspended=True, active=0)
    assert stage_jobs(plan(world))["minilm-label-0a1b2c3d-0"]["spec"] == {"suspend": False}
