"""An arm that we run: its Deployment and its Service."""

from typing import Final

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels, pods
from distill_operator.render.rollout.order import ArmOrder
from distill_operator.render.rollout.runtimes import LAUNCHES

CONTAINER: Final = "server"
STREAM_SECONDS: Final = 30
"""Time that requests in flight get after draining, before the process is killed."""
START_SECONDS: Final = 600
"""Time that a model may take to load before its container is started anew."""
PORT_NAME: Final = "http"


def deployment(order: ArmOrder) -> Manifest:
    """Return the Deployment: never fewer ready pods than asked for while it changes."""
    spec: Manifest = {
        "selector": {"matchLabels": labels.selector(order.owner, order.arm)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "revisionHistoryLimit": 2,
        "template": {
            "metadata": {
                "labels": dict(order.template.labels)
                | labels.of_pods(order.owner, order.arm, order.revision),
                "annotations": _scrape(order),
            },
            "spec": _pod(order),
        },
    }
    if order.replicas is not None:
        # Left out, another field manager such as an autoscaler owns it.
        spec["replicas"] = order.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": labels.metadata(order.owner, order.name, order.arm),
        "spec": spec,
    }


def service(order: ArmOrder) -> Manifest:
    """Return the Service that the route sends to: the pods of one arm, whatever their revision."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(order.owner, order.name, order.arm),
        "spec": {
            "selector": labels.selector(order.owner, order.arm),
            "ports": [
                {
                    "name": PORT_NAME,
                    "port": order.port,
                    "targetPort": PORT_NAME,
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    }


def _scrape(order: ArmOrder) -> dict[str, str]:
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(order.port),
        "prometheus.io/path": LAUNCHES[order.runtime].metrics,
    }


def _pod(order: ArmOrder) -> Manifest:
    volumes = pods.volume(order.model, image_volumes=order.image_volumes)
    spec = pods.spec(order.template, _server(order), volumes)
    # A pod that is taken out of service still gets requests until every gateway knows.
    spec["terminationGracePeriodSeconds"] = order.drain_seconds + STREAM_SECONDS
    if order.model.reference is not None and not order.image_volumes:
        spec["initContainers"] = [pods.fetcher(order.model, order.image, order.template)]
    return spec


def _server(order: ArmOrder) -> Manifest:
    launch = LAUNCHES[order.runtime]
    found = pods.container(CONTAINER, order.image, order.template)
    found["args"] = [*launch.arguments(order), *order.arguments]
    found["ports"] = [{"name": PORT_NAME, "containerPort": order.port, "protocol": "TCP"}]
    found["volumeMounts"] = [*found["volumeMounts"], *pods.mount(order.model)]
    found["startupProbe"] = _probe(launch.live, every=2, failures=START_SECONDS // 2)
    found["readinessProbe"] = _probe(launch.ready, every=1, failures=2)
    found["livenessProbe"] = _probe(launch.live, every=10, failures=6)
    return found


def _probe(path: str, *, every: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
