"""The arms: what they show, and the share that both sides can bear."""

from typing import Any

import pytest
from distill_operator.plan.rollout import readiness
from distill_operator.plan.rollout.model import ObservedArm, ObservedDeployment, ObservedPod
from distill_operator.plan.rollout.readiness import ArmSight


def arm(ready: int, wanted: int | None = 2) -> ArmSight:
    return ArmSight(ready=ready, wanted=wanted, rolled_out=ready == wanted)


SHARES: list[tuple[str, int, int, ArmSight, ArmSight, int]] = [
    ("both are whole", 250, 50, arm(2), arm(2), 250),
    ("the student is dead", 250, 250, arm(0), arm(2), 0),
    ("the student is dead, the teacher half", 250, 250, arm(0), arm(1), 0),
    ("both are dead", 250, 100, arm(0), arm(0), 100),
    ("back onto a dead teacher", 0, 500, arm(2), arm(0), 500),
    ("back onto half a teacher", 0, 800, arm(2), arm(1), 500),
    ("back onto half a teacher that has most already", 0, 300, arm(2), arm(1), 300),
    ("back onto a whole teacher", 0, 1000, arm(2), arm(2), 0),
    ("back onto somebody's Service", 0, 1000, arm(2), arm(1, None), 0),
    ("forward with half a teacher", 250, 100, arm(2), arm(1), 250),
]


@pytest.mark.parametrize(
    ("why", "target", "current", "student", "teacher", "expected"),
    SHARES,
    ids=[case[0] for case in SHARES],
)
def test_the_share_that_both_bear(  # noqa: PLR0917 - a table of cases
    why: str, target: int, current: int, student: ArmSight, teacher: ArmSight, expected: int
):
    assert readiness.share(target, current, student=student, teacher=teacher) == expected, why


def deployment(**changes: Any) -> ObservedDeployment:
    values: dict[str, Any] = {
        "name": "minilm-student",
        "uid": "u",
        "revision": "r1",
        "generation": 2,
        "observed_generation": 2,
        "wanted": 2,
        "updated": 2,
        "ready": 2,
    }
    return ObservedDeployment(**(values | changes))


ROLLED_OUT: list[tuple[str, dict[str, Any], int, bool]] = [
    ("whole", {}, 2, True),
    ("of another revision", {"revision": "r0"}, 2, False),
    ("not seen yet", {"observed_generation": 1}, 2, False),
    ("half new", {"updated": 1}, 2, False),
    ("half ready", {"ready": 1}, 1, False),
    ("ready, and not in the Service yet", {}, 1, False),
    ("scaled to nothing", {"wanted": 0, "updated": 0, "ready": 0}, 0, False),
    ("going", {"deleting": True}, 2, False),
]


@pytest.mark.parametrize(
    ("why", "changes", "endpoints", "expected"), ROLLED_OUT, ids=[case[0] for case in ROLLED_OUT]
)
def test_whether_an_arm_is_rolled_out(
    *, why: str, changes: dict[str, Any], endpoints: int, expected: bool
):
    seen = ObservedArm(endpoints, service_found=True, deployment=deployment(**changes))
    assert readiness.look(seen, "r1").rolled_out is expected, why


def test_somebodys_service_is_there_once_it_answers():
    assert readiness.look(ObservedArm(1, service_found=True), None).rolled_out
    assert not readiness.look(ObservedArm(0, service_found=True), None).rolled_out


def pod(**changes: Any) -> ObservedPod:
    return ObservedPod(**({"name": "p", "uid": "p", "revision": "r1", "ready": False} | changes))


LOOPS: list[tuple[str, dict[str, Any], bool]] = [
    ("starting", {}, False),
    ("ended once", {"restarts": 1, "ended": ("Error", 1)}, False),
    ("ended three times", {"restarts": 3}, True),
    ("the kubelet says so", {"waiting": ("CrashLoopBackOff", "")}, True),
    ("ready again", {"restarts": 5, "ready": True}, False),
    ("going", {"restarts": 5, "deleting": True}, False),
]


@pytest.mark.parametrize(("why", "changes", "expected"), LOOPS, ids=[case[0] for case in LOOPS])
def test_what_is_a_crash_loop(*, why: str, changes: dict[str, Any], expected: bool):
    seen = readiness.look(ObservedArm(pods=(pod(**changes),)), "r1")
    assert (seen.looping is not None) is expected, why


TROUBLE: list[tuple[str, ObservedArm, str | None]] = [
    ("no Service", ObservedArm(), "its Service does not exist"),
    (
        "quota",
        ObservedArm(deployment=deployment(problem="exceeded quota: gpus")),
        "exceeded quota: gpus",
    ),
    ("no node", ObservedArm(1, True, None, (pod(unschedulable="0/3 nodes"),)), "0/3 nodes"),
    (
        "no image",
        ObservedArm(0, True, None, (pod(waiting=("ErrImagePull", "not found")),)),
        "ErrImagePull (not found)",
    ),
    (
        "out of memory",
        ObservedArm(0, True, None, (pod(ended=("OOMKilled", 137)),)),
        "OOMKilled (status 137)",
    ),
    (
        "the server's own words",
        ObservedArm(0, True, None, (pod(ended=("Error", 78), last_words="there is no folder"),)),
        "Error (status 78): there is no folder",
    ),
    ("all is well", ObservedArm(1, True, None, (pod(ready=True),)), None),
]


@pytest.mark.parametrize(("why", "seen", "words"), TROUBLE, ids=[case[0] for case in TROUBLE])
def test_what_an_arm_lacks(why: str, seen: ObservedArm, words: str | None):
    found = readiness.look(seen, "r1").trouble
    assert (found is None) if words is None else (found is not None and words in found), why
