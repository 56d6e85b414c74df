"""The engine stage: its pod, and what becomes of a job where no node can build an engine."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import jobs
import pytest
from distill_api import wire
from distill_api.names import Reason, Stage, StageState
from distill_operator.plan import job as planning
from distill_operator.plan import stages
from distill_operator.plan.model import Manifest, Plan
from jobs import NOW, SETTINGS, World, a_job

EXPORT: dict[str, Any] = {"export": {"onnx": {}, "tensorRT": {"gpus": 2, "waitSeconds": 120}}}
BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EXPORT)
NO_NODE = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def waiting(seconds: float, **changes: Any) -> World:
    """Return a job whose engine's pod has waited for so long."""
    world = a_job(**EXPORT).after(*BEFORE).with_stage_job(Stage.ENGINE)
    pod: dict[str, Any] = {
        "phase": "Pending",
        "node": None,
        "started": None,
        "unschedulable": NO_NODE,
        "created": NOW - timedelta(seconds=seconds),
    }
    return world.with_pod(Stage.ENGINE, **(pod | changes))


def planned(world: World) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW)


def entry(plan: Plan, stage: Stage) -> Any:
    return next(one for one in plan.status.stages if one.name is stage)


def the_pod() -> Manifest:
    made = planned(a_job(**EXPORT).after(*BEFORE)).children
    (job,) = (one for one in made if one["kind"] == "Job")
    found: Manifest = job["spec"]["template"]["spec"]
    return found


def test_the_engine_stage_is_there_only_where_it_is_asked_for():
    assert Stage.ENGINE not in stages.wanted(jobs.spec(export={"onnx": {}}))
    order = stages.wanted(jobs.spec(**EXPORT))
    assert order.index(Stage.EXPORT) + 1 == order.index(Stage.ENGINE)
    assert order.index(Stage.ENGINE) + 1 == order.index(Stage.EVALUATE)


def test_tensorrt_s_container_gets_the_gpus_and_sees_nothing_but_the_scratch_folder():
    pod = the_pod()
    hand_over, engine = pod["initContainers"]
    assert hand_over["args"] == ["--hand-over"]
    assert hand_over["image"] == pod["containers"][0]["image"]
    assert engine["image"].startswith("nvcr.io/nvidia/tensorrt:")
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]
    folder = f"{wire.SCRATCH_DIR}/engine"
    assert engine["command"] == ["python3", f"{folder}/engine_program.py", folder]
    assert [mount["mountPath"] for mount in engine["volumeMounts"]] == [wire.SCRATCH_DIR]
    assert engine["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "2 Insufficient nvidia.com/gpu"),
        ({"unschedulable": None, "node": "n", "waiting": ("ErrImagePull", "x")}, "cannot pull"),
    ],
    ids=["no node", "no image"],
)
def test_without_a_node_or_an_image_the_engine_is_left_out_and_the_job_goes_on(
    changes: dict[str, Any], why: str
):
    early = planned(waiting(119, **changes))
    assert entry(early, Stage.ENGINE).state is StageState.PENDING
    assert early.look_again is not None
    late = planned(waiting(120, **changes))
    skipped = entry(late, Stage.ENGINE)
    assert skipped.state is StageState.SKIPPED
    assert "was left out after 120 s" in skipped.message
    assert why in skipped.message
    assert "add a node with 2 nvidia.com/gpu" in skipped.message
    assert late.news[-1].reason is Reason.STAGE_SKIPPED
    assert late.news[-1].message == skipped.message
    names = {one["metadata"]["name"] for one in late.children if one["kind"] == "Job"}
    assert skipped.job_name not in names, "its Job is removed"
    gone = replace(waiting(120).seen, stage_jobs=(), pods=())
    after = planning.plan(World(gone).with_status(late.status).seen, SETTINGS, now=NOW)
    assert entry(after, Stage.ENGINE).state is StageState.SKIPPED
    assert "-evaluate-" in {one["kind"]: one["metadata"]["name"] for one in after.children}["Job"]
    assert not [item for item in after.news if item.reason is Reason.STAGE_SKIPPED]


def test_an_engine_s_pod_that_runs_is_never_left_out():
    running = {"phase": "Running", "node": "n", "unschedulable": None, "started": NOW}
    found = planned(waiting(100_000, **running))
    assert entry(found, Stage.ENGINE).state is StageState.RUNNING


def test_no_other_stage_is_ever_left_out():
    for stage in set(Stage) - {Stage.ENGINE}:
        assert stages.patience(jobs.spec(**EXPORT), stage) is None


def test_the_success_says_that_there_is_no_engine():
    world = a_job(**EXPORT).after(*stages.wanted(jobs.spec(**EXPORT)))
    message = "Engine was left out after 120 s"
    entries = [
        one.model_copy(update={"state": StageState.SKIPPED, "message": message})
        if one.name is Stage.ENGINE
        else one
        for one in world.seen.job.status.stages
    ]
    status = world.seen.job.status.model_copy(update={"stages": entries})
    after = planned(world.with_status(status)).status
    assert after.phase == "Succeeded"
    told = {one.type: one.message for one in after.conditions}
    assert message in told["Succeeded"]
    assert message in told["Ready"]
