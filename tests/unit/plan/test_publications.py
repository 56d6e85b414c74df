"""What came of each target of publish: in status, in the printer column, in events."""

from typing import Any

import jobs
from distill_api.names import Reason, Stage
from distill_api.status import Publication
from distill_operator.plan import job as planning
from distill_operator.plan.model import Plan
from jobs import NOW, SETTINGS, World, a_job

TARGETS: list[dict[str, Any]] = [{"pvc": {"claimName": "models"}}, {"pvc": {"claimName": "full"}}]
DONE = Publication(target=0, state="Published", uri="pvc://models/models", time=NOW)
LOST = Publication(target=1, state="Failed", message="the claim is full", time=NOW)


def a_publication() -> World:
    return a_job(publish=TARGETS).after(Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE)


def plan(world: World) -> Plan:
    return planning.plan(world.seen, SETTINGS, now=NOW)


def half() -> World:
    told = jobs.a_failure(
        Stage.PUBLISH, Reason.REGISTRY_UNREACHABLE, "the claim is full", final=False
    )
    told = told.model_copy(update={"publications": [DONE, LOST]})
    world = a_publication().with_stage_job(Stage.PUBLISH, failed=1)
    message = jobs.message(told)
    return world.with_pod(Stage.PUBLISH, phase="Failed", exit_code=75, termination_message=message)


def test_a_stage_that_failed_tells_which_targets_have_the_student():
    found = plan(half())
    assert found.status.publications == [DONE, LOST]
    assert found.status.published == "1/2"
    assert found.status.artifact is None
    news = {(item.kind, item.reason): item.message for item in found.news}
    assert news["Normal", Reason.PUBLISHED] == "publish[0] is at pvc://models/models"


def test_what_is_known_of_a_target_is_told_once_and_kept():
    status = plan(half()).status
    later = a_publication().with_status(status).with_stage_job(Stage.PUBLISH, failed=1)
    found = plan(later)
    assert found.status.publications == [DONE, LOST]
    assert not [item for item in found.news if item.reason is Reason.PUBLISHED]


def test_a_signed_student_and_a_failed_target_are_events():
    signed = DONE.model_copy(update={"signature": "oci://r/m:sha256-1.sig"})
    told = jobs.a_report(Stage.PUBLISH, publications=[signed, LOST])
    found = plan(a_publication().done(Stage.PUBLISH, report=told))
    words = [item.message for item in found.news if "publish[" in item.message]
    assert words == [
        "publish[0] is at pvc://models/models and signed",
        "publish[1]: the claim is full",
    ]
