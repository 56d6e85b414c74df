"""The two arms of a rollout as they are: Deployments, endpoints, pods, and where they count."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from distill_api.names import Label
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_arms import Arm as WantedArm
from distill_api.rollout_arms import ExistingService, Runtime

from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE, Kind
from distill_operator.effects.rollout.scrape import Target
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import resolve
from distill_operator.plan.rollout.model import Arm, ObservedArm, ObservedDeployment, ObservedPod
from distill_operator.render.order import Owner
from distill_operator.render.rollout import arm as rendering

SERVICE_NAME: Final = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the Service that it belongs to."""
PORT_ANNOTATION: Final = "prometheus.io/port"
STUCK: Final = ("ReplicaFailure", "True"), ("Progressing", "False")
"""Conditions of a Deployment that says that it cannot go on."""


@dataclass(frozen=True, slots=True)
class Side:
    """Everything that is known of an arm, as the API server has it."""

    arm: Arm
    service: str
    """Name of its Service."""
    runtime: Runtime
    found: bool
    """The Service exists."""
    deployment: Manifest | None
    pods: tuple[Manifest, ...]
    slices: tuple[Manifest, ...]
    port: int | None = None
    """Of the pods' metrics; None: their annotation has it."""
    requests: int | None = None
    """Of the pods' requests; None: their container has it."""
    owner: str = ""
    """Uid of the rollout."""
    made: Manifest | None = None
    """Its Service, where we run it."""


def wanted(spec: DistilledModelRolloutSpec, arm: Arm) -> WantedArm:
    """Return what the spec says of an arm."""
    return spec.student if arm is Arm.STUDENT else spec.teacher


def service_name(owner: Owner, spec: DistilledModelRolloutSpec, arm: Arm) -> str:
    """Return the name of an arm's Service."""
    given = wanted(spec, arm).service
    return given.name if given is not None else resolve.child(owner, arm.value)


class Arms:
    """Gathers arms: those that we run from the watches, pods of other Services by asking."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    async def side(self, owner: Owner, spec: DistilledModelRolloutSpec, arm: Arm) -> Side:
        """Return an arm."""
        given = wanted(spec, arm)
        if given.service is not None:
            return await self._theirs(owner, given.service, arm)
        name = service_name(owner, spec, arm)
        assert given.deployment is not None
        service = self._made(SERVICE, owner, name)
        return Side(
            arm=arm,
            service=name,
            runtime=given.deployment.runtime,
            found=service is not None,
            deployment=self._made(DEPLOYMENT, owner, name),
            pods=tuple(p for p in self._store.children(POD, owner.uid) if _component(p) == arm),
            # Endpoints of a Service that is not ours are not those of our pods.
            slices=self._slices(owner.namespace, name) if service is not None else (),
            owner=owner.uid,
            made=service,
        )

    def _made(self, kind: Kind, owner: Owner, name: str) -> Manifest | None:
        """Return a child by its name; one that an earlier rollout left behind is none of ours."""
        found = self._store.children(kind, owner.uid)
        return next((body for body in found if body["metadata"]["name"] == name), None)

    async def _theirs(self, owner: Owner, given: ExistingService, arm: Arm) -> Side:
        """Ask for a Service that somebody else runs, and for the pods that it selects."""
        slices = self._slices(owner.namespace, given.name)
        try:
            service = await self._cluster.get(SERVICE, owner.namespace, given.name)
        except errors.Missing:
            return Side(arm, given.name, given.runtime, False, None, (), slices)
        chosen = (service.get("spec") or {}).get("selector") or {}
        labels = ",".join(f"{key}={value}" for key, value in sorted(chosen.items()))
        pods: list[Manifest] = []
        if labels:
            # Without a selector it has endpoints of its own, outside the cluster perhaps.
            pods, _ = await self._cluster.list(POD, owner.namespace, labels=labels)
        asked = _pod_port(service, slices, given.port)
        port = given.metrics_port or asked
        return Side(arm, given.name, given.runtime, True, None, tuple(pods), slices, port, asked)

    def _slices(self, namespace: str, service: str) -> tuple[Manifest, ...]:
        return tuple(
            body
            for body in self._store.all(ENDPOINT_SLICE)
            if body["metadata"]["namespace"] == namespace and of_service(body) == service
        )


def of_service(body: Manifest) -> str | None:
    """Return the Service that an EndpointSlice belongs to."""
    found = (body["metadata"].get("labels") or {}).get(SERVICE_NAME)
    return None if found is None else str(found)


def _component(body: Manifest) -> str | None:
    return (body["metadata"].get("labels") or {}).get(Label.COMPONENT)


def _pod_port(service: Manifest, slices: Iterable[Manifest], port: int) -> int | None:
    """Return the port of the pods behind a port of a Service, as the endpoints have it."""
    ports = (service.get("spec") or {}).get("ports") or ()
    names = {entry.get("name", "") for entry in ports if entry.get("port") == port}
    for body in slices:
        for entry in body.get("ports") or ():
            if (entry.get("name") or "") in names and entry.get("port"):
                return int(entry["port"])
    return None


def look(side: Side) -> ObservedArm:
    """Return what the planner sees of an arm."""
    return ObservedArm(
        ready_endpoints=ready(side.slices),
        service_found=side.found,
        service_bound=side.made is not None and observe.bound(side.made, side.owner),
        deployment=_deployment(side.deployment, side.owner) if side.deployment else None,
        pods=tuple(map(pod, side.pods)),
    )


def ready(slices: Iterable[Manifest]) -> int:
    """Return how many endpoints take requests; one with two address families counts once."""
    found = set()
    for body in slices:
        for entry in body.get("endpoints") or ():
            # Unknown counts as ready, says the API.
            if (entry.get("conditions") or {}).get("ready", True) is not False:
                found.add((entry.get("targetRef") or {}).get("uid") or entry["addresses"][0])
    return len(found)


def _deployment(body: Manifest, owner: str) -> ObservedDeployment:
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    labels = spec["template"]["metadata"].get("labels") or {}
    return ObservedDeployment(
        name=meta["name"],
        uid=meta["uid"],
        revision=labels.get(Label.REVISION),
        generation=meta.get("generation", 1),
        observed_generation=status.get("observedGeneration", 0),
        wanted=spec.get("replicas", 1),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        deleting="deletionTimestamp" in meta,
        bound=observe.bound(body, owner),
        problem=_problem(status),
    )


def _problem(status: Mapping[str, Any]) -> str | None:
    for entry in status.get("conditions") or ():
        if (entry["type"], entry["status"]) in STUCK:
            return str(entry.get("message") or entry.get("reason", ""))
    return None


def pod(body: Manifest) -> ObservedPod:
    """Return a pod of an arm."""
    meta, status = body["metadata"], body.get("status") or {}
    telling = _telling(status)
    ended = _ended(telling)
    return ObservedPod(
        name=meta["name"],
        uid=meta["uid"],
        revision=(meta.get("labels") or {}).get(Label.REVISION),
        ready=observe.condition(status, "Ready") is not None,
        restarts=telling.get("restartCount", 0),
        deleting="deletionTimestamp" in meta,
        waiting=observe.waiting(status),
        ended=(str(ended.get("reason", "")), int(ended.get("exitCode", 0))) if ended else None,
        last_words=_last_line(str(ended.get("message") or "")),
        unschedulable=observe.unschedulable(status),
    )


def _main(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the status of the container that serves."""
    statuses = list(status.get("containerStatuses") or ())
    named = [entry for entry in statuses if entry["name"] == rendering.CONTAINER]
    first: Mapping[str, Any] = (named or statuses or [{}])[0]
    return first


def _telling(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container that explains the pod: one before the server that fails, else that."""
    for entry in status.get("initContainerStatuses") or ():
        done = (entry.get("state") or {}).get("terminated") or {}
        if done.get("exitCode") != 0 and _ended(entry).get("exitCode"):
            found: Mapping[str, Any] = entry
            return found
    return _main(status)


def _last_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _ended(main: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container's last end: the present one, or the one before it was restarted."""
    found: Mapping[str, Any] = (
        (main.get("state") or {}).get("terminated")
        or (main.get("lastState") or {}).get("terminated")
        or {}
    )
    return found


def targets(side: Side) -> Iterator[Target]:
    """Yield the processes of an arm that can be asked for their counters."""
    for body in side.pods:
        started, place = _started(body), _place(body, side.port)
        if started is not None and place is not None:
            yield Target(
                arm=side.arm,
                pod=body["metadata"]["name"],
                uid=body["metadata"]["uid"],
                url=f"http://{place}/metrics",
                runtime=side.runtime,
                started=started,
                created=datetime.fromisoformat(body["metadata"]["creationTimestamp"]),
                revision=(body["metadata"].get("labels") or {}).get(Label.REVISION),
                requests=_requests(body, side.requests),
            )


def _requests(body: Manifest, port: int | None) -> str | None:
    """Return where a pod takes requests; None where that is not known.

    port: of the pods behind somebody else's Service.
    """
    containers = (body.get("spec") or {}).get("containers") or ()
    ports = (p for own in containers for p in own.get("ports") or ())
    named = (p["containerPort"] for p in ports if p.get("name") == rendering.PORT_NAME)
    ours = Label.REVISION in (body["metadata"].get("labels") or {})
    known = port if not ours else next(named, None)
    place = _place(body, known) if known else None
    return f"http://{place}" if place else None


def _started(body: Manifest) -> datetime | None:
    state = _main(body.get("status") or {}).get("state") or {}
    return observe.moment((state.get("running") or {}).get("startedAt"))


def _place(body: Manifest, port: int | None) -> str | None:
    """Return address and port of the metrics; None while the pod has no address."""
    address = (body.get("status") or {}).get("podIP")
    given = (body["metadata"].get("annotations") or {}).get(PORT_ANNOTATION, "")
    port = port or (int(given) if given.isdecimal() else None)
    if not address or port is None:
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
