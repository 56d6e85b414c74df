"""Stages of several pods: who failed first, how many tries that makes, and who is ready."""

from datetime import timedelta
from typing import Any

import jobs
import pytest
from distill_api.names import ConditionType, Reason, Stage, StageState
from distill_operator.plan import conditions, together
from distill_operator.plan import job as planning
from distill_operator.plan.model import Plan
from jobs import NOW, SETTINGS, World, a_job

TRAINING = {"maxSteps": 9, "distributed": {"pods": 2}}
NO_DISK = jobs.message(
    jobs.a_failure(Stage.TRAIN, Reason.VOLUME_FULL, "The volume is full.", final=False)
)
ECHO = jobs.message(
    jobs.a_failure(Stage.TRAIN, Reason.PEER_LOST, "Pod 1 of the training was lost.", final=False)
)


def gang(*, retries: int = 1) -> World:
    """Return a job whose two pods train."""
    world = a_job(training=TRAINING, retries=retries).after(Stage.LABEL, Stage.PREPARE)
    return world.with_stage_job(Stage.TRAIN)


def a_pod(world: World, at: int, **changes: Any) -> World:
    """Add a pod that was made `at` seconds after the first one; `lasted`: it failed after that."""
    created = NOW - timedelta(seconds=1000 - at)
    lasted = changes.pop("lasted", None)
    if lasted is not None:
        changes = {
            "phase": "Failed",
            "exit_code": 75,
            "finished": created + timedelta(seconds=lasted),
        } | changes
    return world.with_pod(Stage.TRAIN, created=created, **changes)


def planned(world: World) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW)


def train(plan: Plan) -> Any:
    return next(entry for entry in plan.status.stages if entry.name is Stage.TRAIN)


ONCE: list[tuple[str, list[dict[str, Any]], str, int]] = [
    (
        "the echo came first, and is no cause",
        [{"lasted": 50, "termination_message": ECHO}, {"lasted": 51, "exit_code": 137}],
        "train-0-1",
        1,
    ),
    (
        "the echo came last, as the newest failure",
        [
            {"lasted": 50, "termination_message": NO_DISK},
            {"lasted": 58, "termination_message": ECHO},
        ],
        "train-0-0",
        1,
    ),
    (
        "both have their own reason: the first one, and one try",
        [{"lasted": 52, "exit_code": 1}, {"lasted": 50, "termination_message": NO_DISK}],
        "train-0-1",
        1,
    ),
    (
        "a lost node is no try",
        [{"lasted": 58, "disrupted": True}, {"lasted": 50, "termination_message": ECHO}],
        "train-0-0",
        0,
    ),
]


@pytest.mark.parametrize(("why", "pods", "name", "tries"), ONCE, ids=[c[0] for c in ONCE])
def test_the_pod_that_failed_first_is_named(
    why: str, pods: list[dict[str, Any]], name: str, tries: int
):
    world = gang()
    for number, changes in enumerate(pods):
        world = a_pod(world, number, **changes)
    first = together.culprit(world.seen.pods)
    assert first is not None
    assert first.name == name
    assert together.tries(world.seen.pods) == tries
    assert train(planned(world)).failures == 1
    assert f"Pod {name}" in train(planned(world)).message


def test_the_cause_stays_in_sight_while_the_pods_start_again():
    world = a_pod(a_pod(gang(), 0, lasted=50, termination_message=NO_DISK), 1, lasted=55,
                  termination_message=ECHO)  # fmt: skip
    again = a_pod(a_pod(world, 70), 71, phase="Pending", started=None, node=None)
    found = train(planned(again))
    assert found.state is StageState.RUNNING
    assert found.message == (
        "Tried again after: Pod train-0-0 on node node-1 failed first: The volume is full."
    )
    assert found.failures == 1


def test_a_replacement_that_met_the_old_gang_hides_no_cause():
    world = a_pod(gang(), 1, lasted=50, exit_code=255)
    world = a_pod(world, 60, lasted=30, termination_message=ECHO)
    found = train(planned(a_pod(world, 0, lasted=95, termination_message=ECHO)))
    assert found.message.startswith("Pod train-0-0 of Train ended with status 255")
    assert found.failures == 1


def test_a_description_says_how_many_pods_are_ready():
    world = a_pod(gang(), 0)
    told = conditions.find(planned(world).status, ConditionType.RECONCILING)
    assert told is not None
    assert told.message == "Train is running: 1 of 2 pods ready"
    both = conditions.find(planned(a_pod(world, 1)).status, ConditionType.RECONCILING)
    assert both is not None
    assert both.message == "Train is running: 2 of 2 pods ready"


def limit(plan: Plan) -> Any:
    return next(c["spec"].get("backoffLimit") for c in plan.children if c["kind"] == "Job")


def test_tries_are_counted_by_gang_and_then_the_job_has_no_more():
    world, at = gang(retries=1), 0
    for _ in range(2):
        assert limit(planned(world)) is None
        world = a_pod(world, at, lasted=50, exit_code=1)
        world = a_pod(world, at + 1, lasted=55, termination_message=ECHO)
        at += 100
    assert limit(planned(world)) == 0


def test_tries_that_a_lost_node_cost_are_free():
    world = gang(retries=0)
    for at in (0, 100, 200):
        world = a_pod(world, at, lasted=50, disrupted=True)
        world = a_pod(world, at + 1, lasted=52, termination_message=ECHO)
    assert limit(planned(world)) is None
    assert train(planned(world)).failures == 3


def test_a_job_without_more_tries_says_how_often_it_was_tried():
    world = a_job(training=TRAINING, retries=1).after(Stage.LABEL, Stage.PREPARE)
    world = world.with_stage_job(
        Stage.TRAIN, failed=2, active=0, failure=("BackoffLimitExceeded", ""), finished=NOW
    )
    for at in (0, 100):
        world = a_pod(world, at, lasted=50, termination_message=NO_DISK)
        world = a_pod(world, at + 1, lasted=55, termination_message=ECHO)
    message = train(planned(world)).message
    assert message.endswith("failed first: The volume is full. (tried 2 times)")


def test_a_share_is_no_result():
    share = jobs.message(jobs.a_report(Stage.TRAIN, share=True))
    world = a_pod(gang(), 0)
    done = a_pod(world, 1, phase="Succeeded", exit_code=0, termination_message=share)
    assert train(planned(done)).state is StageState.RUNNING
    told = conditions.find(planned(done).status, ConditionType.RECONCILING)
    assert told is not None
    assert told.message == "Train is running: 1 of 2 pods ready, 1 done"
