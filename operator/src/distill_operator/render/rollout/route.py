"""The HTTPRoute that we own: one named rule with two backends."""

from typing import Final

from distill_api.names import VARIANT_HEADER
from distill_api.rollout_route import ParentReference

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels
from distill_operator.render.rollout.order import Backend, Mirrored, RouteOrder

WHOLE: Final = 1000
"""Sum of both weights."""


def manifest(order: RouteOrder) -> Manifest:
    """Return the route as it is made: everything to the teacher.

    Only made, never applied again: from then on its weights are moved by guarded patches, and
    whatever else people write into it is theirs.
    """
    rule: Manifest = {
        "name": order.rule,
        "matches": [{"path": {"type": "PathPrefix", "value": order.route.path}}],
        # The order stays for ever: Envoy Gateway numbers its metrics by it.
        "backendRefs": [_backend(order.teacher, WHOLE), _backend(order.student, 0)],
    }
    if order.mirror is not None:
        rule["filters"] = [copies(order.mirror)]
    if order.route.request_timeout_seconds is not None:
        rule["timeouts"] = {"request": f"{order.route.request_timeout_seconds}s"}
    spec: Manifest = {
        "parentRefs": [_parent(parent) for parent in order.route.parent_refs],
        "rules": [rule],
    }
    if order.route.hostnames:
        spec["hostnames"] = list(order.route.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": labels.metadata(order.owner, order.name, "route"),
        "spec": spec,
    }


def label(arm: str) -> Manifest:
    """Return the filter that names the arm to its pods.

    A filter of its own also makes Envoy Gateway count each backend apart.
    """
    header = {"name": VARIANT_HEADER, "value": arm}
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}


def copies(mirror: Mirrored) -> Manifest:
    """Return the filter that copies a share of all requests, whichever arm answers them.

    A gateway that has no such filter says so: it does not accept the route.
    """
    backend = {"group": "", "kind": "Service", "name": mirror.service, "port": mirror.port}
    return {
        "type": "RequestMirror",
        "requestMirror": {"backendRef": backend, "percent": mirror.percent},
    }


def _backend(backend: Backend, weight: int) -> Manifest:
    return {
        "kind": "Service",
        "name": backend.service,
        "port": backend.port,
        "weight": weight,
        "filters": [label(backend.arm)],
    }


def _parent(parent: ParentReference) -> Manifest:
    given = parent.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway"} | given
