"""Objects around a rollout as the API server stores them."""

from typing import Any, Final

from distill_operator.effects.kinds import (
    DEPLOYMENT,
    DISTILLED_ROLLOUT,
    ENDPOINT_SLICE,
    GATEWAY,
    GATEWAY_SELECTORS,
    HTTP_ROUTE,
    POD,
    ROLLOUT_SELECTORS,
    SERVICE,
)
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest
from distill_operator.render.order import Owner
from distill_operator.render.rollout import labels
from distill_operator.render.rollout import route as rendering
from rollouts import A_ROUTE_ORDER, BACKENDS, OWNER

AT: Final = "2026-11-25T12:00:00Z"
KINDS: Final = tuple(ROLLOUT_SELECTORS | GATEWAY_SELECTORS)
SPEC: Final[Manifest] = {
    "component": "Embedding",
    "artifact": {"jobRef": {"name": "minilm"}},
    "teacher": {"deployment": {"runtime": "Torch"}},
    "student": {"deployment": {"replicas": 2}},
    "gateway": {"route": {"parentRefs": [{"name": "edge"}]}},
}


def meta(name: str, *, namespace: str = OWNER.namespace, version: int = 5, **more: Any) -> Manifest:
    """Return metadata as the API server completes it."""
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": AT,
        **more,
    }


def a_rollout(owner: Owner = OWNER, **changes: Any) -> Manifest:
    """Return a rollout; changes: members of its spec."""
    head = {"apiVersion": DISTILLED_ROLLOUT.api_version, "kind": DISTILLED_ROLLOUT.kind}
    place = meta(owner.name, namespace=owner.namespace) | {"uid": owner.uid, "generation": 1}
    return {**head, "metadata": place, "spec": SPEC | changes}


def a_route(*, student: int = 0, generation: int = 3, seen: int | None = None) -> Manifest:
    """Return our own route with weights; seen: the generation that its Gateway knows."""
    body = rendering.manifest(A_ROUTE_ORDER)
    body["metadata"] |= meta(OWNER.name) | {"generation": generation}
    for backend, weight in zip(
        body["spec"]["rules"][0]["backendRefs"], (1000 - student, student), strict=True
    ):
        backend["weight"] = weight
    known = generation if seen is None else seen
    conditions = [
        {"type": kind, "status": "True", "observedGeneration": known, "message": ""}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    body["status"] = {
        "parents": [{"parentRef": body["spec"]["parentRefs"][0], "conditions": conditions}]
    }
    return body


def a_gateway(name: str = "edge", status: str = "True") -> Manifest:
    """Return a Gateway that is programmed or not."""
    told = [{"type": "Programmed", "status": status, "message": "no address"}]
    return {"metadata": meta(name), "spec": {}, "status": {"conditions": told}}


def a_deployment(arm: str, *, revision: str = "rev", replicas: int = 2, ready: int = 2) -> Manifest:
    """Return the Deployment of an arm."""
    name = f"{OWNER.name}-{arm}"
    given = labels.metadata(OWNER, name, arm) | meta(name)
    given |= {"uid": f"uid-deployment-{arm}", "generation": 4}
    template = {"metadata": {"labels": {"kubedistill.io/revision": revision}}}
    return {
        "kind": "Deployment",
        "metadata": given,
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": 4, "updatedReplicas": replicas, "readyReplicas": ready},
    }


def a_service(arm: str) -> Manifest:
    """Return the Service of an arm."""
    name = f"{OWNER.name}-{arm}"
    return {"kind": "Service", "metadata": labels.metadata(OWNER, name, arm) | meta(name)}


def a_pod(arm: str, number: int = 0, **status: Any) -> Manifest:
    """Return a pod of an arm that serves; status: members of its container's."""
    name = f"{OWNER.name}-{arm}-{number}"
    given = meta(name) | {
        "labels": labels.of_pods(OWNER, arm, "rev"),
        "annotations": {"prometheus.io/port": "8080"},
    }
    container = {
        "name": "server",
        "restartCount": 0,
        "state": {"running": {"startedAt": AT}},
    } | status
    return {
        "metadata": given,
        "spec": {"nodeName": "n1"},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number + 1}",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container],
        },
    }


def a_slice(service: str, *ready: bool | None, version: int = 5, number: int = 0) -> Manifest:
    """Return an EndpointSlice with endpoints that are ready or not (None: it is not said)."""
    endpoints = [
        {
            "addresses": [f"10.0.{number}.{i}"],
            "targetRef": {"kind": "Pod", "uid": f"{service}-{i}"},
            "conditions": {} if known is None else {"ready": known},
        }
        for i, known in enumerate(ready)
    ]
    given = meta(f"{service}-{number}", version=version)
    return {
        "metadata": given | {"labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 9000}],
    }


def a_world(**changes: Any) -> Store:
    """Return a store with a rollout and everything around it, whole; changes: of the spec."""
    store = Store(KINDS)
    store.put(DISTILLED_ROLLOUT, a_rollout(**changes))
    store.put(HTTP_ROUTE, a_route())
    store.put(GATEWAY, a_gateway())
    for arm, service in (("teacher", BACKENDS.teacher), ("student", BACKENDS.student)):
        store.put(DEPLOYMENT, a_deployment(arm))
        store.put(SERVICE, a_service(arm))
        store.put(ENDPOINT_SLICE, a_slice(service, True, True))
        for number in range(2):
            store.put(POD, a_pod(arm, number))
    return store
