"""Deleting a job: only an external workspace needs us."""

from typing import Any

import jobs
from distill_api.names import FINALIZER, Reason, Stage
from distill_api.wire import Task
from distill_operator.plan import job as planning
from distill_operator.plan.model import Plan
from jobs import NOW, SETTINGS, World, a_job
from world import a_world

S3: dict[str, Any] = {"uri": "s3://bucket/work", "secretRef": {"name": "keys"}}
CLEANUP = "minilm-cleanup-0a1b2c3d-0"


def plan(world: World) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW)


def names(found: Plan) -> list[str]:
    return [c["metadata"]["name"] for c in found.children if c["kind"] == "Job"]


def leaving() -> World:
    return a_job(workspace=S3).deleting(FINALIZER)


def test_an_external_workspace_is_guarded_by_a_finalizer_from_the_first_pass():
    assert plan(a_job(workspace=S3)).finalizers == (FINALIZER,)


def test_a_workspace_in_the_cluster_goes_with_its_owner():
    found = plan(a_job().with_stage_job(Stage.LABEL).deleting())
    assert found.finalizers == ()
    assert names(found) == ["minilm-label-0a1b2c3d-0"]  # left to garbage collection


def test_a_finalizer_is_never_added_while_deleting():
    assert plan(a_job(workspace=S3).deleting()).finalizers == ()


def test_what_still_works_is_stopped_before_the_workspace_is_removed():
    working = leaving().with_stage_job(Stage.TRAIN).with_pod(Stage.TRAIN)
    found = plan(working)
    assert names(found) == []
    assert found.finalizers == (FINALIZER,)
    pods_only = leaving().with_pod(Stage.TRAIN, deleting=True)
    assert names(plan(pods_only)) == []


def test_then_a_cleanup_job_removes_it():
    found = plan(leaving().done(Stage.LABEL))
    assert names(found) == ["minilm-label-0a1b2c3d-0", CLEANUP]
    made = found.children[-1]
    owner = made["metadata"]["ownerReferences"][0]
    assert owner["blockOwnerDeletion"] is False
    assert made["spec"]["activeDeadlineSeconds"] == 600
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    task = Task.model_validate_json(annotations["kubedistill.io/task"])
    assert (task.stage, task.workspace) == (Stage.CLEANUP, f"s3://bucket/work/{jobs.UID}")
    assert task.label_cache is None
    secrets = [v for v in made["spec"]["template"]["spec"]["volumes"] if "secret" in v]
    assert [volume["secret"]["secretName"] for volume in secrets] == ["keys"]


def test_a_running_cleanup_is_waited_for():
    found = plan(leaving().with_stage_job(Stage.CLEANUP).with_pod(Stage.CLEANUP))
    assert names(found) == [CLEANUP]
    assert found.finalizers == (FINALIZER,)


def test_a_cleanup_that_is_done_lets_go():
    found = plan(leaving().done(Stage.CLEANUP))
    assert (found.finalizers, found.news) == ((), ())


def test_a_cleanup_that_fails_lets_go_with_a_warning():
    told = jobs.a_failure(Stage.CLEANUP, Reason.SECRET_MISSING, "No Secret keys.", final=True)
    world = leaving().with_stage_job(
        Stage.CLEANUP, active=0, failed=1, failure=("PodFailurePolicy", "exit 78")
    )
    world = world.with_pod(
        Stage.CLEANUP, phase="Failed", exit_code=78, termination_message=jobs.message(told)
    )
    found = plan(world)
    assert found.finalizers == ()
    assert [(n.kind, n.reason) for n in found.news] == [("Warning", Reason.SECRET_MISSING)]
    assert f"s3://bucket/work/{jobs.UID} was not removed: No Secret keys." in found.news[0].message


def test_a_namespace_that_takes_no_cleanup_lets_go():
    found = plan(leaving().refused("Job", CLEANUP, "namespace team-a is being terminated"))
    assert found.finalizers == ()
    assert found.news[0].reason is Reason.CHILD_REFUSED


def test_an_older_refusal_of_another_child_does_not_count():
    found = plan(leaving().refused("Job", "minilm-train-0a1b2c3d-0", "exceeded quota"))
    assert found.finalizers == (FINALIZER,)
    assert names(found) == [CLEANUP]


def test_a_whole_deletion_ends():
    world = a_world(workspace=S3)
    for _ in range(4):
        world.turn()
        world.control()
        world.start()
    world.job = jobs.replace(world.job, deleting=True)
    world.run()
    assert world.gone
    assert (Stage.CLEANUP, 0) in world.made
