"""A train stage of several pods: one Indexed Job, and a Service by which they find each other."""

from typing import Any

import jobs
import pytest
from distill_api.names import Exit, Stage
from distill_operator.effects.kinds import MADE_BY_PLAN
from distill_operator.plan import job as planning
from distill_operator.plan import stages
from distill_operator.plan.model import Manifest
from jobs import NOW, SETTINGS, a_job

TRAINING = {"maxSteps": 9, "distributed": {"pods": 3, "processesPerPod": 2}}


def children(stage: Stage, **changes: Any) -> list[Manifest]:
    world = a_job(**({"training": TRAINING, "retries": 2} | changes))
    spec = world.seen.job.spec
    assert spec is not None
    order = stages.wanted(spec)
    before = world.after(*order[: order.index(stage)])
    return list(planning.plan(before.seen, SETTINGS, now=NOW).children)


def one(kind: str, stage: Stage = Stage.TRAIN, **changes: Any) -> Manifest:
    found = [child for child in children(stage, **changes) if child["kind"] == kind]
    made = [child for child in found if "template" in child["spec"] or kind != "Job"]
    assert len(made) == 1
    return made[0]


def test_all_pods_start_together_under_stable_names():
    spec = one("Job")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert spec["completionMode"] == "Indexed"
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["subdomain"] == one("Service")["metadata"]["name"]


def test_kubernetes_has_a_limit_that_tries_counted_by_the_planner_never_reach():
    assert one("Job")["spec"]["backoffLimit"] == 8
    assert one("Job", retries=0)["spec"]["backoffLimit"] == 2


def test_the_service_has_no_address_and_names_pods_before_they_are_ready():
    made, job = one("Service"), one("Job")
    spec = made["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"] is True
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    assert set(spec["selector"].values()) == {jobs.UID, "Train"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == jobs.UID
    assert made["metadata"]["name"][0].isalpha()
    assert len(made["metadata"]["name"]) <= 63


def test_a_pod_that_a_lost_peer_took_along_does_not_count():
    rules = one("Job")["spec"]["podFailurePolicy"]["rules"]
    echo = {"containerName": "trainer", "operator": "In", "values": [Exit.PEER_LOST.value]}
    assert {"action": "Ignore", "onExitCodes": echo} in rules
    alone = one("Job", Stage.PREPARE)["spec"]["podFailurePolicy"]["rules"]
    assert len(alone) == len(rules) - 1


def test_pods_are_spread_over_nodes_where_there_are_several():
    job = one("Job")["spec"]["template"]
    (spread,) = job["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )
    assert spread["labelSelector"]["matchLabels"].items() <= job["metadata"]["labels"].items()


APART: list[tuple[Stage, dict[str, Any]]] = [
    (Stage.LABEL, {"podTemplate": {"labelPods": 3}}),
    (
        Stage.TRAIN,
        {
            "training": {"maxSteps": 9},
            "sweep": {
                "parameters": [{"path": "training.seed", "values": ["1", "2"]}],
                "maxTrials": 3,
                "parallelTrials": 5,
            },
        },
    ),
]


@pytest.mark.parametrize(("stage", "changes"), APART)
def test_pods_that_work_apart_are_numbered_and_need_no_service(
    stage: Stage, changes: dict[str, Any]
):
    spec = one("Job", stage, **changes)["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert spec["completionMode"] == "Indexed"
    assert "subdomain" not in spec["template"]["spec"]
    assert "Service" not in {child["kind"] for child in children(stage, **changes)}


def test_the_processes_meet_at_the_first_pod():
    job, service = one("Job"), one("Service")
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    told = {entry["name"]: entry["value"] for entry in env}
    first = f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert (told["PET_MASTER_ADDR"], told["PET_MASTER_PORT"]) == (first, "29500")


def test_the_service_is_made_before_the_job_that_needs_it():
    kinds = [child["kind"] for child in children(Stage.TRAIN)]
    assert kinds.index("Service") < kinds.index("Job", kinds.index("Service"))
    assert "Service" in MADE_BY_PLAN


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.EVALUATE])
def test_other_stages_have_one_pod_and_no_service(stage: Stage):
    spec = one("Job", stage)["spec"]
    assert (spec["completions"], spec["backoffLimit"]) == (1, 2)
    assert "completionMode" not in spec
    assert "Service" not in {child["kind"] for child in children(stage)}
