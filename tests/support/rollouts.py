"""A rollout's world in memory: arms, a route, a gateway, and traffic that fails at a given rate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import course, deletion
from distill_operator.plan.rollout.course import Look, Outcome, State
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    Counts,
    ObservedArm,
    ObservedArtifact,
    ObservedBackend,
    ObservedDeployment,
    ObservedMetrics,
    ObservedParent,
    ObservedPod,
    ObservedRoute,
    RouteEdit,
    Settings,
)
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.policy import Commands, Metric, Policy, Step
from distill_operator.plan.rollout.traffic import Backends
from distill_operator.statistics import comparison, rate, sprt

NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTINGS: Final = Settings(server_image="server", prober_image="prober")
BACKENDS: Final = Backends("minilm-teacher", "minilm-student")
ERRORS: Final = Metric(
    rate.Rule(
        metric="errors",
        what="failed",
        design=sprt.Design(0.005, 0.01, 0.004, 0.05),
        contest=comparison.Design(2, 0.01, 0.05),
    )
)
STEPS: Final = tuple(Step(weight, timedelta(minutes=1)) for weight in (5, 10, 25, 50, 100))
POLICY: Final = Policy(
    steps=STEPS, metrics=(ERRORS,), retention=timedelta(hours=1), max_soak=timedelta(hours=4)
)


@dataclass(slots=True)
class Pod:
    """One pod's process: how it is, and what it has counted."""

    uid: str
    revision: str | None
    ready: bool = True
    started: datetime = NOW
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    ended: tuple[str, int] | None = None
    requests: int = 0
    errors: int = 0


@dataclass(slots=True)
class Side:
    """One arm."""

    replicas: int = 2
    pods: list[Pod] = field(default_factory=list)
    error_rate: float = 0.0
    ours: bool = True

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods)


@dataclass(slots=True)
class World:
    """Everything that exists, and what was done to it."""

    policy: Policy = POLICY
    state: State = field(default_factory=State)
    sides: dict[Arm, Side] = field(default_factory=lambda: {arm: Side() for arm in Arm})
    route: ObservedRoute | None = None
    now: datetime = NOW
    revision: str | None = "rev-1"
    artifact: ObservedArtifact = field(
        default_factory=lambda: ObservedArtifact("oci://registry/minilm", "sha256:" + "0" * 64)
    )
    generation: int = 1
    deleting: bool = False
    rival: str | None = None
    per_second: float = 100.0
    """Requests that come in."""
    metrics_down: bool = False
    gateway_stuck: bool = False
    route_refused: bool = False
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
    seen: list[Memory] = field(default_factory=list)
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
        """Let Kubernetes bring each arm that we run to its replicas, of the wanted revision."""
        for arm, side in self.sides.items():
            wanted = self.memory.revision
            if not side.ours or wanted is None or self.frozen:
                continue
            replicas = 0 if arm is Arm.TEACHER and self.phase is Phase.COMPLETED else side.replicas
            kept = [pod for pod in side.pods if pod.revision == wanted][:replicas]
            fresh = [self._pod(arm, wanted) for _ in range(replicas - len(kept))]
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

    def look(self, *, read: bool = True) -> Look:
        """Return what an observer sees now."""
        return Look(
            route=self.route,
            backends=BACKENDS,
            arms={arm: self._arm(arm) for arm in Arm},
            runs=frozenset(arm for arm in Arm if self.sides[arm].ours),
            metrics=self._metrics() if read else ObservedMetrics(read=False),
            artifact=self.artifact,
            revision=self.revision,
            generation=self.generation,
            deleting=self.deleting,
            rival=self.rival,
        )

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
            deployment=self._deployment(arm) if side.ours else None,
            pods=pods,
        )

    def _deployment(self, arm: Arm) -> ObservedDeployment | None:
        side = self.sides[arm]
        if not side.pods and self.memory.revision is None:
            return None
        return ObservedDeployment(
            name=BACKENDS.of(arm),
            uid=f"deployment-{arm}",
            revision=side.pods[0].revision if side.pods else self.memory.revision,
            generation=1,
            observed_generation=1,
            wanted=side.replicas,
            updated=len(side.pods),
            ready=side.ready,
        )

    def _metrics(self) -> ObservedMetrics:
        if self.metrics_down:
            return ObservedMetrics(problems={"errors": "the metrics endpoint does not answer"})
        return ObservedMetrics(
            counts=tuple(
                Counts(arm, pod.uid, pod.started, "errors", pod.requests, pod.errors)
                for arm, side in self.sides.items()
                for pod in side.pods
                if pod.ready
            )
        )

    def turn(self, *, dies: str = "", read: bool = True) -> Outcome:
        """Run one pass. dies: before `status` or `route` is written, the operator is killed."""
        found = course.go(self.state, self.policy, self.look(read=read), SETTINGS, now=self.now)
        self.last = found
        if dies == "status":
            return found
        self.state = found.state
        self.seen.append(self.memory)
        untouched = self.phase in (Phase.PENDING, Phase.FAILED) or self.forbids_route
        if self.route is None and not untouched and self.policy.owns_route:
            self.route = a_route()
        self.handed_back |= deletion.released(found, SETTINGS, now=self.now) is not None
        if found.edit is not None and dies != "route" and not self.route_refused:
            self._patch(found.edit)
        return found

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
        self._write(replace(self.route, backends=tuple(backends), weight_writer=None))

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
                self.later(10)
                self.turn()
                return self
            self.start()
            self.later(10)
        raise AssertionError(f"step {number} was not reached: {self.memory}")


def a_route(student: int = 0) -> ObservedRoute:
    """Return the route with the student's weight per mille."""
    return ObservedRoute(
        name="minilm",
        uid="route",
        generation=1,
        resource_version="1",
        owned=True,
        rule=0,
        backends=(
            ObservedBackend(BACKENDS.teacher, WHOLE - student, 8080),
            ObservedBackend(BACKENDS.student, student, 8080),
        ),
        parents=(ObservedParent("edge", accepted=True, resolved=True, observed_generation=1),),
    )


def a_world(*, commands: Commands | None = None, **changes: Any) -> World:
    """Return a world in which nothing has happened yet; changes: of the policy."""
    wanted = replace(POLICY, **changes)
    if commands is not None:
        wanted = replace(wanted, commands=commands)
    return World(policy=wanted)
