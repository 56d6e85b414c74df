"""What rollouts serve is known to the publish stage, whose retention must not remove it."""

from typing import Any

import jobs
import pytest
from distill_api.names import Annotation, Stage
from distill_api.wire import Task
from distill_operator.effects import served
from distill_operator.effects.kinds import DISTILLATION_JOB, DISTILLED_ROLLOUT, ROLLOUT_SELECTORS
from distill_operator.effects.store import Store
from distill_operator.plan import job as planning
from distill_operator.plan.model import Manifest

KEEPS: dict[str, Any] = {"oci": {"repository": "r.example.com/m/s", "retention": {"keepLast": 1}}}
BARE: dict[str, Any] = {"oci": {"repository": "r.example.com/m/s"}}


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def an_object(uid: str, **parts: Any) -> Manifest:
    meta = {"uid": uid, "name": uid, "namespace": "team-b", "resourceVersion": "1", "labels": {}}
    return {"metadata": meta, **parts}


@pytest.fixture
def store() -> Store:
    """Return a store with a rollout of a job, and one that names digests itself."""
    found = Store(tuple(ROLLOUT_SELECTORS))
    named = {
        "artifact": {"uri": "oci://r.example.com/m/s", "digest": digest("a")},
        "teacher": {"deployment": {"model": {"uri": f"oci://r.example.com/t@{digest('b')}"}}},
    }
    found.put(DISTILLED_ROLLOUT, an_object("named", spec=named))
    by_job = {"artifact": {"jobRef": {"name": "older"}}}
    status = {"artifact": {"digest": digest("c")}}
    found.put(DISTILLED_ROLLOUT, an_object("by-job", spec=by_job, status=status))
    job = {"artifact": {"digest": digest("d")}, "publications": [{"digest": digest("e")}]}
    found.put(DISTILLATION_JOB, an_object("older", spec={}, status=job))
    found.put(DISTILLATION_JOB, an_object("other", spec={}, status={"artifact": digest("f")}))
    return found


def test_digests_of_spec_status_and_of_the_job_are_found(store: Store) -> None:
    spec = jobs.spec(publish=[KEEPS])
    assert served.digests(spec, store) == tuple(map(digest, "abcde"))


def test_nobody_looks_where_nothing_is_removed(store: Store) -> None:
    assert served.digests(jobs.spec(publish=[BARE]), store) == ()
    assert served.digests(None, store) == ()


def test_only_the_publish_stage_is_told() -> None:
    world = jobs.a_job(publish=[KEEPS]).after(
        Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE
    )
    assert _told(world, Stage.PUBLISH).served == [digest("a")]
    earlier = jobs.a_job(publish=[KEEPS]).after(Stage.LABEL, Stage.PREPARE)
    assert _told(earlier, Stage.TRAIN).served is None


def _told(world: jobs.World, stage: Stage) -> Task:
    """Return the task of the stage that the plan makes a Job for."""
    seen = jobs.replace(world.seen, served=(digest("a"),))
    plan = planning.plan(seen, jobs.SETTINGS, now=jobs.NOW)
    (made,) = [
        child for child in plan.children if child["kind"] == "Job" and "template" in child["spec"]
    ]
    text = made["spec"]["template"]["metadata"]["annotations"][Annotation.TASK.value]
    task = Task.model_validate_json(text)
    assert task.stage is stage
    return task
