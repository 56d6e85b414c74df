"""From a whole object to a plan and back: spec, artifact, route and pods in, status out."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from distill_api.names import ROLLOUT_FINALIZER, RolloutConditionType, RolloutPhase, RolloutReason
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_status import RolloutStatus
from distill_operator.plan.rollout import course, policies, rollout, words
from distill_operator.plan.rollout.model import (
    Arm,
    ObservedArm,
    ObservedArtifact,
    ObservedDeployment,
    ObservedPod,
)
from distill_operator.plan.rollout.policy import Step
from distill_operator.plan.rollout.rollout import Observed, ObservedRollout, Plan
from distill_operator.statistics import quality, rate
from distill_operator.statistics import words as findings
from rollout_specs import ARTIFACT, a_spec
from rollout_world import a_world
from rollouts import NOW, SETTINGS, a_route

EXAMPLES = Path(__file__).parents[3] / "examples" / "rollout"


def seen(spec: DistilledModelRolloutSpec | None = None, **changes: Any) -> Observed:
    subject = ObservedRollout(
        namespace="team-a",
        name="minilm",
        uid="0a1b2c3d",
        generation=1,
        resource_version="1",
        created=NOW,
        deleting=False,
        finalizers=(),
        spec=spec or a_spec(),
        spec_error=None,
        status=RolloutStatus(),
    )
    return Observed(rollout=subject, artifact=ARTIFACT, **changes)


def written(before: Observed, plan: Plan) -> Observed:
    """Return the observation after the plan's status was stored as JSON and read again."""
    stored = json.loads(plan.status.model_dump_json(by_alias=True, exclude_none=True))
    subject = replace(
        before.rollout,
        status=RolloutStatus.model_validate(stored),
        finalizers=plan.finalizers,
    )
    return replace(before, rollout=subject)


def ready(plan: Plan, arm: Arm) -> ObservedArm:
    """Return the arm as Kubernetes brings it up from the plan's own Deployment."""
    made = next(
        child
        for child in plan.children.applied
        if child["kind"] == "Deployment" and child["metadata"]["name"] == f"minilm-{arm}"
    )
    count = made["spec"].get("replicas", 1)
    revision = made["spec"]["template"]["metadata"]["labels"]["kubedistill.io/revision"]
    found = ObservedDeployment(made["metadata"]["name"], "u", revision, 1, 1, count, count, count)
    pods = tuple(
        ObservedPod(f"{arm}-{n}", f"{arm}-{n}", revision, ready=True) for n in range(count)
    )
    return ObservedArm(count, service_found=True, deployment=found, pods=pods)


def begun() -> tuple[Observed, Plan]:
    """Return a rollout at its first step, driven there through its written status alone."""
    world, now = seen(), NOW
    for _ in range(4):
        plan = rollout.plan(world, SETTINGS, now=now)
        world = written(world, plan)
        if plan.children.applied:
            world = replace(
                world,
                teacher=ready(plan, Arm.TEACHER),
                student=ready(plan, Arm.STUDENT),
                route=world.route or a_route(),
            )
        now += timedelta(seconds=12)
    return world, plan


def condition(status: RolloutStatus, kind: RolloutConditionType) -> tuple[str, RolloutReason]:
    found = next(c for c in status.conditions if c.type is kind)
    return found.status, found.reason


def test_a_rollout_reaches_its_first_step_through_its_own_status():
    world, plan = begun()
    assert plan.status.phase is RolloutPhase.PROGRESSING
    assert plan.status.weight is not None
    # The gateways are connected to the student before it gets its share.
    assert plan.status.weight.desired == 1
    assert plan.edit is not None
    assert [entry.to for entry in plan.status.history] == ["Preparing", "Progressing"]
    assert plan.status.history[-1].weight == 50
    assert plan.finalizers == (ROLLOUT_FINALIZER,)
    assert condition(plan.status, RolloutConditionType.PROMOTED)[0] == "Unknown"
    assert world.rollout.status == plan.status


def test_the_same_observation_gives_the_same_plan():
    world, _ = begun()
    now = NOW + timedelta(minutes=1)
    assert rollout.plan(world, SETTINGS, now=now) == rollout.plan(world, SETTINGS, now=now)


def test_an_artifact_that_is_not_there_yet_is_waited_for():
    waiting = replace(seen(), artifact=ObservedArtifact(problem="Job minilm is still running"))
    plan = rollout.plan(waiting, SETTINGS, now=NOW)
    assert plan.status.phase is RolloutPhase.PENDING
    assert "Job minilm is still running" in (plan.status.message or "")
    assert plan.children.applied == ()
    assert plan.finalizers == ()
    failed = replace(waiting, artifact=ObservedArtifact(problem="Job minilm failed", final=True))
    assert rollout.plan(failed, SETTINGS, now=NOW).status.phase is RolloutPhase.FAILED


def test_an_artifact_that_vanishes_while_it_serves_changes_nothing():
    world, _ = begun()
    gone = replace(world, artifact=ObservedArtifact(problem="There is no job minilm"))
    plan = rollout.plan(gone, SETTINGS, now=NOW + timedelta(minutes=1))
    assert plan.status.phase is RolloutPhase.PROGRESSING
    assert plan.children.applied == ()
    assert {child.name for child in plan.children.kept} == {"minilm-teacher", "minilm-student"}


def test_a_spec_that_cannot_be_read_touches_nothing():
    world, _ = begun()
    subject = replace(world.rollout, spec=None, spec_error="spec.teacher: unknown field")
    broken = replace(world, rollout=subject)
    plan = rollout.plan(broken, SETTINGS, now=NOW)
    assert (plan.keeps_all, plan.edit) == (True, None)
    assert condition(plan.status, RolloutConditionType.STALLED) == (
        "True",
        RolloutReason.INVALID_SPEC,
    )
    assert plan.finalizers == (ROLLOUT_FINALIZER,)
    assert plan.status.record == world.rollout.status.record
    assert [n.reason for n in plan.news] == [RolloutReason.INVALID_SPEC]
    again = rollout.plan(written(broken, plan), SETTINGS, now=NOW)
    assert (again.news, again.status) == ((), plan.status)
    leaving = replace(broken, rollout=replace(subject, deleting=True))
    gone = rollout.plan(leaving, SETTINGS, now=NOW)
    assert (gone.finalizers, gone.keeps_all, gone.orphans_all) == ((), True, True)


def test_a_record_of_another_release_begins_anew_without_traffic():
    world, _ = begun()
    status = world.rollout.status.model_copy(update={"record": {"memory": "other"}})
    plan = rollout.plan(
        replace(world, rollout=replace(world.rollout, status=status)), SETTINGS, now=NOW
    )
    assert plan.status.phase is RolloutPhase.PREPARING
    assert plan.status.weight is not None
    assert plan.status.weight.desired == 0


def test_a_record_of_another_release_does_not_undo_a_promotion():
    world, _ = begun()
    status = world.rollout.status.model_copy(
        update={"record": {"memory": "other"}, "phase": RolloutPhase.COMPLETED}
    )
    route = a_route(1000)
    there = replace(world, rollout=replace(world.rollout, status=status), route=route)
    plan = rollout.plan(there, SETTINGS, now=NOW)
    assert plan.status.phase is RolloutPhase.COMPLETED
    assert plan.edit is None or "100%" in plan.edit.sentence


def test_alpha_is_shared_out_and_beta_divided():
    found = policies.of(a_spec()).metrics
    rules = {m.name: m.rule for m in found if isinstance(m.rule, rate.Rule)}
    assert rules["errors"].design.alpha == pytest.approx(0.01 * 0.4 / 0.6)
    # Five steps, each with evidence of its own.
    assert rules["latency-p95"].design.alpha == pytest.approx(0.01 * 0.2 / 0.6 / 5)
    assert {rule.design.beta for rule in rules.values()} == {0.025}
    assert (rules["latency-p95"].design.p0, rules["latency-p95"].design.p1) == (0.03, 0.05)


def test_a_metric_without_alpha_moves_nothing():
    spec = a_spec(
        metrics=[
            {"name": "errors", "errors": {}},
            {"name": "slow", "critical": False, "latency": {"alphaWeight": 0}},
        ]
    )
    slow = policies.of(spec).metrics[1]
    assert (slow.on_regression, slow.moves) == ("Warn", False)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_planned(path: Path):
    objects = [o for o in yaml.safe_load_all(path.read_text()) if o["kind"] != "HTTPRoute"]
    assert objects
    for body in objects:
        spec = DistilledModelRolloutSpec.model_validate(body["spec"])
        plan = rollout.plan(seen(spec), SETTINGS, now=NOW)
        assert plan.status.phase in (RolloutPhase.PREPARING, RolloutPhase.PENDING), path.name
        assert RolloutStatus.model_validate_json(plan.status.model_dump_json(by_alias=True))


def test_no_time_is_promised_before_requests_come() -> None:
    world = a_world(steps=(Step(weight=50, soak=timedelta(seconds=10), requests=1000),))
    world.per_second = 0
    world.to_step(1)
    assert words.eta(world.last) is None
    world.per_second = 10
    world.later(60)
    world.turn()
    world.later(10)
    world.turn()
    told = words.eta(world.last)
    assert told is not None
    assert told != "0s"


def test_a_quality_that_has_no_more_queries_asks_for_some_or_for_a_person() -> None:
    spec = a_spec(
        metrics=[{"name": "rank", "quality": {}}],
        prober={"queries": {"uri": "oci://registry.example.com/queries:v1"}, "maxQueries": 40},
    )
    (metric,) = policies.of(spec).metrics
    assert isinstance(metric.rule, quality.Rule)
    state = quality.add(quality.State(), [(0.5, 0.5)] * 40, metric.rule)
    finding, _ = quality.judge(state, metric.rule)
    assert finding.exhausted
    assert "add queries" in findings.explain(finding)


def test_requests_of_the_weight_before_do_not_count_for_the_split() -> None:
    """Counters that were read before and after a change hold requests of both weights."""
    world = a_world(steps=(Step(50, timedelta(seconds=20)), Step(100, timedelta(seconds=600))))
    world.to_step(1)
    while world.memory.step == 0:
        world.later(2)
        world.turn()
    world.later(1)
    world.turn()
    assert world.memory.weights.confirmed
    # Seen with the new weight: what the teacher still got by the old one.
    world.sides[Arm.TEACHER].pods[0].requests += 40
    world.later(1)
    world.turn()
    for _ in range(300):
        world.later(2)
        world.turn()
    assert world.memory.split.student > 1000
    assert course.mismatch(world.memory) is None
