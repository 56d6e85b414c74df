"""A rollout's world in memory: arms, a route, a gateway, and traffic that fails at a given rate."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from distill_api.names import Label
from distill_operator.plan.model import Manifest, RefusedChild
from distill_operator.plan.rollout import judgement, record, turn
from distill_operator.plan.rollout.conditions import Claim
from distill_operator.plan.rollout.course import Outcome, State
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    Child,
    Counts,
    ObservedArm,
    ObservedArtifact,
    ObservedDeployment,
    ObservedMetrics,
    ObservedPod,
    ObservedRoute,
    ObservedTokens,
    OtherRollout,
    PodTokens,
    Refusals,
    RouteEdit,
)
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.policy import Commands, Policy
from distill_operator.plan.rollout.turn import Scene, Subject, Turn
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.rollout.order import ArmOrder
from distill_operator.statistics import saving
from rollouts import A_ROUTE_ORDER, BACKENDS, NOW, POLICY, SETTINGS, Pod, Side, a_route, an_order

ALIKE = PodTokens(texts=18, digest="sha256:" + "1" * 64)


@dataclass(slots=True)
class World:
    """Everything that exists, and what was done to it."""

    policy: Policy = POLICY
    state: State = field(default_factory=State)
    sides: dict[Arm, Side] = field(default_factory=lambda: {arm: Side() for arm in Arm})
    route: ObservedRoute | None = None
    now: datetime = NOW
    revision: str = "rev-1"
    """Of the student's artifact."""
    teacher_revision: str = "rev-1"
    deployments: dict[Arm, Manifest] = field(default_factory=dict)
    orphans: set[Child] = field(default_factory=set)
    """Children that outlive the rollout."""
    claims: tuple[Claim, ...] = ()
    finalizers: tuple[str, ...] = ()
    others: tuple[OtherRollout, ...] = ()
    writes: int = 0
    """Of the status."""
    told: list[str] = field(default_factory=list)
    warned: frozenset[str] = frozenset()
    warnings: list[str] = field(default_factory=list)
    """Reasons of the events of that kind."""
    artifact: ObservedArtifact = field(
        default_factory=lambda: ObservedArtifact("oci://registry/minilm", "sha256:" + "0" * 64)
    )
    generation: int = 1
    deleting: bool = False
    per_second: float = 100.0
    """Requests that come in."""
    metrics_down: bool = False
    gateway_stuck: bool = False
    route_refused: bool = False
    orphans_refused: bool = False
    children_refused: str | None = None
    """What the API server says of the student's Deployment; None: it takes it."""
    unroutable: str | None = None
    tokens: PodTokens | None = ALIKE
    """What came of comparing the tokens of each pod of the student; None: nobody has asked."""
    refused: Refusals = field(default_factory=Refusals)
    frozen: bool = False
    """Kubernetes brings no pod back."""
    forbids_route: bool = False
    skew: float | None = None
    """Share of the traffic that the student gets whatever its weight is."""
    handed_back: bool = False
    lost: float = 0.0
    """Requests sent where nobody answers."""
    waiting: dict[Arm, float] = field(default_factory=lambda: dict.fromkeys(Arm, 0.0))
    failing: dict[Arm, float] = field(default_factory=lambda: dict.fromkeys(Arm, 0.0))
    count: int = 0
    last: Outcome | None = None

    @property
    def memory(self) -> Memory:
        return self.state.memory

    @property
    def phase(self) -> Phase:
        return self.memory.phase

    @property
    def share(self) -> int:
        """The student's weight as it is on the route."""
        assert self.route is not None
        return self.route.backends[1].weight

    # What others do.

    def later(self, seconds: float, *, traffic: bool = True) -> None:
        """Let time pass, and requests come as the route splits them."""
        self.now += timedelta(seconds=seconds)
        if traffic and self.route is not None:
            student = self.share / WHOLE if self.skew is None else self.skew
            for arm, share in ((Arm.TEACHER, 1 - student), (Arm.STUDENT, student)):
                self._send(arm, seconds * self.per_second * share)

    def _send(self, arm: Arm, requests: float) -> None:
        ready = [pod for pod in self.sides[arm].pods if pod.ready]
        if not ready:
            self.lost += requests
            return
        for pod in ready:
            # Parts of a request are kept for later, so that small shares add up.
            whole, self.waiting[arm] = divmod(self.waiting[arm] + requests / len(ready), 1)
            pod.requests += int(whole)
            self.failing[arm] += whole * self.sides[arm].error_rate
            failed, self.failing[arm] = divmod(self.failing[arm], 1)
            pod.errors += int(failed)

    def start(self) -> None:
        """Let Kubernetes bring each arm that we run to its replicas, of the applied revision."""
        for arm, side in self.sides.items():
            found = self.deployments.get(arm)
            if not side.ours or found is None or self.frozen:
                continue
            revision = found["spec"]["template"]["metadata"]["labels"][Label.REVISION]
            replicas = found["spec"]["replicas"]
            kept = [pod for pod in side.pods if pod.revision == revision][:replicas]
            fresh = [self._pod(arm, revision) for _ in range(replicas - len(kept))]
            side.pods = kept + fresh

    def _pod(self, arm: Arm, revision: str) -> Pod:
        self.count += 1
        return Pod(f"{arm}-{self.count}", revision, started=self.now)

    def crash(self, arm: Arm, *, loops: bool = False) -> None:
        """Let every pod of an arm end."""
        for pod in self.sides[arm].pods:
            pod.ready, pod.requests, pod.errors = False, 0, 0
            pod.restarts += 1
            pod.started = self.now
            pod.ended = ("OOMKilled", 137)
            pod.waiting = ("CrashLoopBackOff", "back-off 10s") if loops else None

    def recover(self, arm: Arm) -> None:
        for pod in self.sides[arm].pods:
            pod.ready, pod.waiting = True, None

    def edit_weights(self, share: int) -> None:
        """Let somebody else write the weights."""
        assert self.route is not None
        weights = (WHOLE - share, share)
        backends = tuple(
            replace(b, weight=w) for b, w in zip(self.route.backends, weights, strict=True)
        )
        self._write(replace(self.route, backends=backends, weight_writer="kubectl-edit"))

    def order(self, **commands: Any) -> None:
        """Let a person change the spec."""
        self.generation += 1
        self.policy = replace(self.policy, commands=replace(self.policy.commands, **commands))

    # What we do.

    def seen(self, *, read: bool = True) -> Scene:
        """Return what an observer sees now."""
        return Scene(
            rollout=Subject(
                uid="0a1b2c3d",
                generation=self.generation,
                created=NOW,
                deleting=self.deleting,
                finalizers=self.finalizers,
                wanted=self.wanted,
                state=self.state,
                claims=self.claims,
                warned=self.warned,
            ),
            route=self.route if self.unroutable is None else None,
            teacher=self._arm(Arm.TEACHER),
            student=self._arm(Arm.STUDENT),
            metrics=self._metrics() if read else ObservedMetrics(read=False),
            tokens=self._tokens(),
            artifact=self.artifact,
            refused=self.refused,
            unroutable=self.unroutable,
            others=self.others,
        )

    @property
    def wanted(self) -> Wanted:
        """What the spec asks for."""
        orders = {arm: self._order(arm) for arm in Arm}
        return Wanted(
            policy=self.policy,
            backends=BACKENDS,
            teacher=orders[Arm.TEACHER],
            student=orders[Arm.STUDENT],
            route=A_ROUTE_ORDER if self.policy.owns_route else None,
        )

    def _order(self, arm: Arm) -> ArmOrder | None:
        if not self.sides[arm].ours:
            return None
        revision = self.revision if arm is Arm.STUDENT else self.teacher_revision
        return an_order(arm, revision, self.sides[arm].replicas)

    def _arm(self, arm: Arm) -> ObservedArm:
        side = self.sides[arm]
        pods = tuple(
            ObservedPod(
                name=pod.uid,
                uid=pod.uid,
                revision=pod.revision,
                ready=pod.ready,
                restarts=pod.restarts,
                waiting=pod.waiting,
                ended=pod.ended,
            )
            for pod in side.pods
        )
        return ObservedArm(
            ready_endpoints=side.ready,
            service_found=True,
            service_bound=side.ours and Child("Service", BACKENDS.of(arm)) not in self.orphans,
            deployment=self._deployment(arm) if side.ours else None,
            pods=pods,
        )

    def _deployment(self, arm: Arm) -> ObservedDeployment | None:
        side, found = self.sides[arm], self.deployments.get(arm)
        if found is None:
            return None
        revision = found["spec"]["template"]["metadata"]["labels"][Label.REVISION]
        return ObservedDeployment(
            name=BACKENDS.of(arm),
            uid=f"deployment-{arm}",
            revision=revision,
            generation=1,
            observed_generation=1,
            wanted=found["spec"]["replicas"],
            updated=sum(pod.revision == revision for pod in side.pods),
            ready=side.ready,
            bound=Child("Deployment", BACKENDS.of(arm)) not in self.orphans,
        )

    def _tokens(self) -> ObservedTokens:
        if self.tokens is None:
            return ObservedTokens(known=False)
        return ObservedTokens({pod.uid: self.tokens for pod in self.sides[Arm.STUDENT].pods})

    def _metrics(self) -> ObservedMetrics:
        if self.metrics_down:
            return ObservedMetrics(problems={"errors": "the metrics endpoint does not answer"})
        costs = [m.name for m in self.policy.metrics if isinstance(m.rule, saving.Rule)]
        return ObservedMetrics(
            counts=tuple(
                Counts(arm, pod.uid, pod.started, name, pod.requests, events)
                for arm, side in self.sides.items()
                for pod in side.pods
                if pod.ready
                for name, events in [("errors", pod.errors), *((name, 0) for name in costs)]
            )
        )

    def turn(self, *, dies: str = "", read: bool = True) -> Turn:
        """Run one pass. dies: before `status` or `route` is written, the operator is killed."""
        plan = turn.take(self.seen(read=read), SETTINGS, now=self.now)
        self.last = plan.decided
        if dies == "status":
            return plan
        if plan.write:
            # Through JSON, as a new operator reads it: what is lost there is lost for good.
            self.state = record.load(json.loads(json.dumps(record.dump(plan.decided.state))))
            assert self.state == plan.decided.state
            self.claims, self.writes = plan.claims, self.writes + 1
            told = plan.decided.found
            self.warned = frozenset(m.name for m, f in told if judgement.warns(m, f))
        self.told += [tidings.message for tidings in plan.news]
        self.warnings += [t.reason.value for t in plan.news if t.kind == "Warning"]
        if dies != "route":
            self._converge(plan)
        return plan

    def _converge(self, plan: Turn) -> None:
        """Do what is done after the status: children, the route, finalizers."""
        refused = []
        for child in plan.children.applied:
            name = child["metadata"]["name"]
            if self.children_refused and (child["kind"], name) == ("Deployment", BACKENDS.student):
                refused.append(RefusedChild("Deployment", name, self.children_refused))
            elif child["kind"] == "Deployment" and child["metadata"]["name"] != "prober":
                arm = Arm(child["metadata"]["labels"][Label.COMPONENT])
                self.deployments[arm] = child
        if self.route is None and plan.children.made and not self.forbids_route:
            self.route = replace(a_route(), bound=True)
        self.refused = Refusals(tuple(refused))
        edit = plan.decided.edit
        if edit is not None and not self.route_refused:
            self._patch(edit)
        for child in () if self.orphans_refused else plan.children.orphaned:
            self.orphans.add(child)
            if child.kind == "HTTPRoute" and self.route is not None:
                self.route = replace(self.route, bound=False)
        self.handed_back |= self.deleting and not plan.finalizers
        self.finalizers = plan.finalizers

    def _patch(self, edit: RouteEdit) -> None:
        assert self.route is not None
        backends = list(self.route.backends)
        for operation in edit.operations:
            index = self._index(operation)
            if operation["op"] == "test":
                self._test(operation, index)
            elif operation["path"].endswith("/weight"):
                backends[index] = replace(backends[index], weight=operation["value"])
            else:
                backends[index] = replace(backends[index], filters=tuple(operation["value"]))
        self._cut(self.share, backends[1].weight)
        self._write(replace(self.route, backends=tuple(backends), weight_writer=None))

    def _cut(self, before: int, after: int) -> None:
        """Lose requests where one step leaves a side that answers without any share.

        Of what goes to it or comes from it at that moment; a thousandth is too little to matter.
        """
        for arm, had, has in (
            (Arm.STUDENT, before, after),
            (Arm.TEACHER, WHOLE - before, WHOLE - after),
        ):
            answers = any(pod.ready for pod in self.sides[arm].pods)
            if answers and ((had > 1 and has == 0) or (had == 0 and has > 1)):
                self.lost += 0.02 * self.per_second

    def _index(self, operation: Manifest) -> int:
        parts = operation["path"].split("/")
        return int(parts[5]) if len(parts) > 5 else -1

    def _test(self, operation: Manifest, index: int) -> None:
        assert self.route is not None
        found = self.route.resource_version if index < 0 else self.route.backends[index].name
        assert found == operation["value"], operation

    def _write(self, route: ObservedRoute) -> None:
        version = str(int(route.resource_version) + 1)
        self.route = replace(route, generation=route.generation + 1, resource_version=version)
        if not self.gateway_stuck:
            self.program()

    def program(self) -> None:
        """Let the gateway take the route over."""
        assert self.route is not None
        parents = tuple(
            replace(parent, observed_generation=self.route.generation)
            for parent in self.route.parents
        )
        self.route = replace(self.route, parents=parents)

    # Both, over time.

    def run(self, seconds: float, *, until: Phase | None = None, every: float = 10) -> World:
        """Let passes, Kubernetes and traffic go on for so long, or until a phase is reached."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.turn()
            if self.phase is until:
                return self
            self.start()
            self.later(every)
        if until is not None:
            raise AssertionError(f"still {self.phase} after {seconds} s, not {until}")
        return self

    def to_step(self, number: int) -> World:
        """Let time pass until a step (from 1) is under way and its weight is verified."""
        for _ in range(5000):
            self.turn()
            if self.phase is Phase.PROGRESSING and self.memory.step + 1 == number:
                while not self.memory.clocks.verified:
                    self.later(10)
                    self.turn()
                return self
            self.start()
            self.later(10)
        raise AssertionError(f"step {number} was not reached: {self.memory}")


def a_world(*, commands: Commands | None = None, **changes: Any) -> World:
    """Return a world in which nothing has happened yet; changes: of the policy."""
    wanted = replace(POLICY, **changes)
    if commands is not None:
        wanted = replace(wanted, commands=commands)
    return World(policy=wanted)
