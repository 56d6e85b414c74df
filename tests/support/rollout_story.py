"""Stories about rollouts as data: what happens, and what must then be true.

A story is a YAML file: `row` of the fault matrix, `says` what it promises, `given` the policy and
where the rollout stands, and `story`, a list of entries. An entry does things (one verb each, in
their order) and then expects things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from distill_api.names import RolloutConditionType
from distill_api.rollout_metrics import OnRegression
from distill_api.rollout_policies import Action, ForeignWeights
from distill_operator.plan.rollout import signals, words
from distill_operator.plan.rollout.model import (
    Arm,
    Difference,
    ObservedArtifact,
    ObservedBackend,
    OtherRollout,
    PodTokens,
)
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.policy import Policy, Step
from rollout_world import ALIKE, World, a_world
from rollouts import ERRORS, METRICS, NOW, a_route

FOLDER: Final = Path(__file__).parents[1] / "unit" / "rollout" / "stories"
WORDS: Final = frozenset({"why", "held", "told", "message", "children", "stalled", "tokens"})
"""Expectations that name a part of a sentence."""
ENUMS: Final = {"no_data": Action, "undecided": Action, "foreign": ForeignWeights}


def stories() -> list[tuple[str, dict[str, Any]]]:
    """Return every story by the name of its file."""
    found = [
        (path.stem, yaml.safe_load(path.read_text())) for path in sorted(FOLDER.glob("*.yaml"))
    ]
    assert len(found) > 20, f"only {len(found)} stories in {FOLDER}"
    return found


def tell(story: Mapping[str, Any]) -> None:
    """Tell one story, and fail where something else happens than it says."""
    world = _begin(story.get("given") or {})
    expected = 0
    for number, entry in enumerate(story["story"], 1):
        for verb, value in (entry.get("do") or {}).items():
            VERBS[verb](world, value)
        for what, wanted in (entry.get("expect") or {}).items():
            found = EXPECTED[what](world)
            where = f"entry {number}, {what}: {found!r} where {wanted!r} is expected"
            assert _fits(found, wanted, part=what in WORDS), (
                f"{where}; last: {world.memory.transition.why}"
            )
            expected += 1
    assert expected > 0, "a story that expects nothing proves nothing"


def _fits(found: Any, wanted: Any, *, part: bool) -> bool:
    if isinstance(wanted, Mapping) and not isinstance(found, Mapping):
        assert wanted.keys() & {"least", "most"}, f"{wanted} bounds nothing"
        return bool(wanted.get("least", found) <= found <= wanted.get("most", found))
    return wanted in found if part else bool(found == wanted)


def _begin(given: Mapping[str, Any]) -> World:
    world = a_world(**_policy(given.get("policy") or {}))
    world.per_second = given.get("per_second", world.per_second)
    if given.get("existing_route"):
        world.policy = replace(world.policy, owns_route=False)
        world.route = a_route()
    world.unroutable = given.get("unroutable")
    for arm in Arm:
        if given.get(f"existing_{arm}"):
            world.sides[arm].ours = False
            world.sides[arm].pods = [world._pod(arm, "theirs") for _ in range(2)]
    if "step" in given:
        world.to_step(given["step"])
    if "phase" in given:
        world.run(400_000, until=Phase(given["phase"]))
        world.turn()
    return world


def _policy(raw: Mapping[str, Any]) -> dict[str, Any]:
    times = {f.name for f in fields(Policy) if f.type in ("timedelta", timedelta)}
    found: dict[str, Any] = {}
    for name, value in raw.items():
        if name == "steps":
            found[name] = tuple(_step(step) for step in value)
        elif name == "metrics":
            found[name] = tuple(METRICS[metric] for metric in value)
        elif name == "on_regression":
            found["metrics"] = (replace(ERRORS, on_regression=OnRegression(value)),)
        elif name in times:
            found[name] = timedelta(seconds=value)
        else:
            found[name] = ENUMS.get(name, lambda v: v)(value)
    return found


def _step(raw: Mapping[str, Any]) -> Step:
    return Step(
        weight=raw["weight"],
        soak=timedelta(seconds=raw.get("soak", 60)),
        requests=raw.get("requests", 0),
        manual=raw.get("manual", False),
    )


# What happens.


def _turn(world: World, times: int) -> None:
    for _ in range(times):
        world.turn()


def _watch(world: World, seconds: int) -> None:
    """Let passes follow each other second by second."""
    for _ in range(seconds):
        world.later(1)
        world.turn()


def _run(world: World, seconds: float) -> None:
    world.run(seconds)


def _run_until(world: World, wanted: str) -> None:
    world.run(400_000, until=Phase(wanted))


def _later(world: World, seconds: float) -> None:
    world.later(seconds)


def _nobody_watches(world: World, seconds: float) -> None:
    """Let time and traffic pass while the operator is down."""
    for _ in range(int(seconds // 60) or 1):
        world.later(min(60, seconds))


def _clock_jumps(world: World, seconds: float) -> None:
    world.later(seconds, traffic=False)


def _dies(world: World, before: str) -> None:
    world.turn(dies=before)


def _crash(world: World, arm: str) -> None:
    world.frozen = True
    world.crash(Arm(arm))


def _crash_loop(world: World, arm: str) -> None:
    world.frozen = True
    for _ in range(3):
        world.crash(Arm(arm), loops=True)


def _one_pod_ready(world: World, arm: str) -> None:
    pod = world.sides[Arm(arm)].pods[0]
    pod.ready, pod.waiting = True, None


def _recover(world: World, arm: str) -> None:
    world.frozen = False
    world.recover(Arm(arm))


def _replace_pods(world: World, arm: str) -> None:
    side = world.sides[Arm(arm)]
    side.pods = [world._pod(Arm(arm), pod.revision or "") for pod in side.pods]


def _errors(world: World, rates: Mapping[str, float]) -> None:
    for arm, rate in rates.items():
        world.sides[Arm(arm)].error_rate = rate


def _order(world: World, commands: Mapping[str, Any]) -> None:
    world.order(**commands)


def _set_policy(world: World, raw: Mapping[str, Any]) -> None:
    world.generation += 1
    world.policy = replace(world.policy, **_policy(raw))


def _revise(world: World, revision: str) -> None:
    world.generation += 1
    world.revision = revision


def _revise_teacher(world: World, revision: str) -> None:
    world.generation += 1
    world.teacher_revision = revision


def _rival(world: World, name: str | None) -> None:
    older = OtherRollout(name or "", NOW - timedelta(days=1), "uid")
    younger = OtherRollout("younger", NOW + timedelta(days=1), "uid-2")
    world.others = (older, younger) if name else (younger,)


def _replicas(world: World, counts: Mapping[str, int]) -> None:
    for arm, count in counts.items():
        world.sides[Arm(arm)].replicas = count


def _rename_backend(world: World, arm: str) -> None:
    assert world.route is not None
    index = list(Arm).index(Arm(arm))
    backends = list(world.route.backends)
    backends[index] = ObservedBackend("renamed", backends[index].weight)
    world._write(replace(world.route, backends=tuple(backends)))


def _parents(world: World, changes: Mapping[str, Any]) -> None:
    assert world.route is not None
    parents = tuple(replace(parent, **changes) for parent in world.route.parents)
    world.route = replace(world.route, parents=parents)


def _sticky(world: World, value: bool) -> None:  # noqa: FBT001 - a story's value
    assert world.route is not None
    world.route = replace(world.route, sticky=value)


def _tokens(world: World, found: str) -> None:
    """Let the student's pods be compared with the training: alike, different, absent, silent."""
    other = Difference('the query "short"', "a", (101, 1037, 102), (1037, 102))
    world.tokens = {
        "alike": ALIKE,
        "different": PodTokens(texts=18, difference=other),
        "absent": PodTokens(absent="it has no token_ids.json"),
        "silent": PodTokens(problem="http://10.0.0.7:8080/tokenize did not answer"),
    }[found]


def _two_replicas(world: World, seconds: float) -> None:
    """Let another replica plan the same passes and lose: the status is taken from under it."""
    for _ in range(int(seconds // 10)):
        loser = world.turn(dies="status")
        assert world.turn() == loser, "both have seen the same"
        world.start()
        world.later(10)


def _api_down(world: World, seconds: float) -> None:
    """Let no write come through, while requests go on."""
    for _ in range(int(seconds // 10)):
        world.turn(dies="status")
        world.later(10)


def _second_parent(world: World, _: Any) -> None:
    assert world.route is not None
    world.route = replace(world.route, parents_wanted=2)


def _skew(world: World, share: float) -> None:
    world.skew = share


def _set(name: str) -> Callable[[World, Any], None]:
    def act(world: World, value: Any) -> None:
        setattr(world, name, value)

    return act


def _artifact_fails(world: World, problem: str) -> None:
    world.artifact = ObservedArtifact(problem=problem, final=True)


def _program(world: World, _: Any) -> None:
    world.gateway_stuck = False
    world.program()


def _anothers_route(world: World, _: Any) -> None:
    world.route = replace(a_route(1000), owned=False)


def _route_goes(world: World, _: Any) -> None:
    world.route = None
    world.forbids_route = True


VERBS: Final[Mapping[str, Callable[[World, Any], None]]] = {
    "turn": _turn,
    "run": _run,
    "watch": _watch,
    "run_until": _run_until,
    "later": _later,
    "nobody_watches": _nobody_watches,
    "clock_jumps": _clock_jumps,
    "dies_before": _dies,
    "crash": _crash,
    "crash_loop": _crash_loop,
    "one_pod_ready": _one_pod_ready,
    "recover": _recover,
    "replace_pods": _replace_pods,
    "errors": _errors,
    "order": _order,
    "policy": _set_policy,
    "revise": _revise,
    "replicas": _replicas,
    "rename_backend": _rename_backend,
    "parents": _parents,
    "sticky": _sticky,
    "tokens": _tokens,
    "two_replicas": _two_replicas,
    "api_down": _api_down,
    "second_parent": _second_parent,
    "skew": _skew,
    "edit_weights": lambda world, share: world.edit_weights(share),
    "metrics_down": _set("metrics_down"),
    "gateway_stuck": _set("gateway_stuck"),
    "gateway_programs": _program,
    "route_refused": _set("route_refused"),
    "keeping_refused": _set("orphans_refused"),
    "unroutable": _set("unroutable"),
    "child_refused": _set("children_refused"),
    "per_second": _set("per_second"),
    "delete": _set("deleting"),
    "rival": _rival,
    "revise_teacher": _revise_teacher,
    "artifact_fails": _artifact_fails,
    "route_goes": _route_goes,
    "anothers_route": _anothers_route,
}


# What must be true.


def _held(world: World) -> str:
    assert world.last is not None
    here = replace(world.last.here, memory=world.memory)
    return " | ".join([*signals.holders(here), signals.lacks(here) or ""])


def _condition(kind: RolloutConditionType) -> Callable[[World], str]:
    """Return what a condition says: `False: the API server refused …`."""

    def look(world: World) -> str:
        found = next(claim for claim in world.claims if claim.kind is kind)
        return f"{found.value}: {found.message}"

    return look


EXPECTED: Final[Mapping[str, Callable[[World], Any]]] = {
    "phase": lambda world: world.phase.value,
    "step": lambda world: world.memory.step + 1,
    "share": lambda world: world.share,
    "desired": lambda world: world.memory.weights.desired,
    "why": lambda world: world.memory.transition.why,
    "signal": lambda world: world.memory.transition.signal,
    "transition": lambda world: world.memory.transition.id,
    "soak": lambda world: world.memory.clocks.soak,
    "retained": lambda world: world.memory.clocks.retained,
    "epoch": lambda world: world.memory.epoch,
    "fights": lambda world: world.memory.fights,
    "held": _held,
    "told": lambda world: " | ".join(world.told),
    "warnings": lambda world: world.warnings,
    "writes": lambda world: world.writes,
    "pods": lambda world: {arm.value: len(side.pods) for arm, side in world.sides.items()},
    "edit": lambda world: bool(world.last and world.last.edit),
    "verdict": lambda world: world.last.here.judgement.verdict.value if world.last else None,
    "student_requests": lambda world: world.memory.step_requests,
    "counted": lambda world: (
        world.state.evidence.rates["errors"].student.all_requests
        if "errors" in world.state.evidence.rates
        else 0
    ),
    "lost": lambda world: world.lost,
    "conflict": lambda world: bool(world.last and world.last.here.conflict),
    "handed_back": lambda world: world.handed_back,
    "message": lambda world: words.decision(world.last) if world.last else "",
    "children": _condition(RolloutConditionType.CHILDREN),
    "stalled": _condition(RolloutConditionType.STALLED),
    "tokens": _condition(RolloutConditionType.TOKENS),
    "kept": lambda world: sorted(f"{child.kind} {child.name}" for child in world.orphans),
}
