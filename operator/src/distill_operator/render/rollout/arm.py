"""An arm that we run: its Deployment and its Service."""

from typing import Final

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels, pods, runtimes
from distill_operator.render.rollout.order import ArmOrder
from distill_operator.render.rollout.runtimes import LAUNCHES

CONTAINER: Final = "server"
PORT_NAME: Final = "http"
STARTUP_PERIOD: Final = 2


def deployment(order: ArmOrder) -> Manifest:
    """Return the Deployment: never fewer ready pods than asked for while it changes."""
    template = order.deployment.pod_template
    spec: Manifest = {
        "selector": {"matchLabels": labels.selector(order.owner, order.arm)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "revisionHistoryLimit": 2,
        "template": {
            "metadata": {
                "labels": dict(template.labels)
                | labels.of_pods(order.owner, order.arm, order.revision),
                "annotations": dict(template.annotations) | _scrape(order),
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
    port = {
        "name": PORT_NAME,
        "port": runtimes.port(order),
        "targetPort": PORT_NAME,
        "protocol": "TCP",
        "appProtocol": "http",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(order.owner, order.name, order.arm),
        "spec": {"selector": labels.selector(order.owner, order.arm), "ports": [port]},
    }


def _scrape(order: ArmOrder) -> dict[str, str]:
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(runtimes.metrics_port(order)),
        "prometheus.io/path": "/metrics",
    }


def _pod(order: ArmOrder) -> Manifest:
    server = _server(order)
    volumes = pods.volume(order.model, image_volumes=order.image_volumes)
    spec = pods.spec(order.deployment.pod_template, server, volumes)
    if order.model.secret is not None:
        # An image volume is opened by the pod's pull secrets.
        spec["imagePullSecrets"] = [
            *spec.get("imagePullSecrets", []),
            {"name": order.model.secret},
        ]
    if order.model.reference is not None and not order.image_volumes:
        spec["initContainers"] = [pods.fetcher(order.model, server)]
    return spec


def _server(order: ArmOrder) -> Manifest:
    wanted, launch = order.deployment, LAUNCHES[order.deployment.runtime]
    found = pods.container(CONTAINER, order.image, wanted.pod_template, wanted.resources)
    found["args"] = [*launch.arguments(order), *wanted.args]
    found["ports"] = [{"name": PORT_NAME, "containerPort": runtimes.port(order), "protocol": "TCP"}]
    found["volumeMounts"] = [*found["volumeMounts"], *pods.mount(order.model)]
    ready = wanted.readiness
    ready_path = ready.path or launch.ready
    tries = -(-ready.startup_seconds // STARTUP_PERIOD)
    found["startupProbe"] = _probe(launch.live, every=STARTUP_PERIOD, failures=tries)
    found["readinessProbe"] = _probe(
        ready_path, every=ready.period_seconds, failures=ready.failure_threshold
    )
    found["livenessProbe"] = _probe(launch.live, every=10, failures=6)
    return found


def _probe(path: str, *, every: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
