"""An arm that we run: its Deployment and its Service."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels, pods, runtimes
from distill_operator.render.rollout.order import ArmOrder, Model
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


def budget(order: ArmOrder) -> Manifest:
    """Return how many pods of an arm may be taken away at once when nodes are emptied: one.

    A pod that is not ready serves nobody, and must not keep its node from being emptied.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": labels.metadata(order.owner, order.name, order.arm),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": labels.selector(order.owner, order.arm)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _scrape(order: ArmOrder) -> dict[str, str]:
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(runtimes.metrics_port(order)),
        "prometheus.io/path": "/metrics",
    }


def _pod(order: ArmOrder) -> Manifest:
    server = _server(order)
    mounted = tuple(_mounted(order))
    volumes = [
        volume
        for own in mounted
        for volume in pods.volume(own.model, image_volumes=order.image_volumes, name=own.name)
    ]
    if (size := _shared_memory(order)) is not None:
        volumes.append(pods.shared_memory(size)[0])
    spec = pods.spec(
        order.deployment.pod_template, server, volumes, grace=order.deployment.grace_seconds
    )
    spec["topologySpreadConstraints"] = [_apart(order)]
    secrets = dict.fromkeys(own.model.secret for own in mounted if own.model.secret is not None)
    if secrets:
        # An image volume is opened by the pod's pull secrets.
        known = spec.get("imagePullSecrets", [])
        spec["imagePullSecrets"] = [*known, *({"name": name} for name in secrets)]
    if first := list(_first(order, server, mounted)):
        spec["initContainers"] = first
    return spec


def _apart(order: ArmOrder) -> Manifest:
    """Return that pods of an arm are on nodes of their own where there are enough."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels.selector(order.owner, order.arm)},
    }


def _first(order: ArmOrder, server: Manifest, mounted: Iterable["_Mounted"]) -> Iterator[Manifest]:
    """Yield the containers that run before the server, so that it finds what was asked for."""
    image = order.fetch_image
    for own in mounted:
        if own.model.reference is not None and not order.image_volumes:
            yield pods.fetcher(own.model, server, image, name=own.name, path=own.path)
    if order.model.claim is not None and order.model.digest is not None:
        yield pods.verifier(order.model, server, image, folder=runtimes.model_path(order))


class _Mounted(NamedTuple):
    """A model that the container finds in a folder."""

    name: str
    path: str
    model: Model


def _mounted(order: ArmOrder) -> Iterator[_Mounted]:
    yield _Mounted(pods.MODEL, runtimes.MODEL_DIR, order.model)
    for number, adapter in enumerate(order.adapters):
        yield _Mounted(f"adapter-{number}", runtimes.adapter_dir(number), adapter.model)


def _shared_memory(order: ArmOrder) -> str | None:
    return order.deployment.shared_memory or LAUNCHES[order.deployment.runtime].shared_memory


def _runtimes_own(order: ArmOrder) -> list[Manifest]:
    """Return the variables of the runtime, without those that the user sets."""
    users = {own.name for own in order.deployment.pod_template.env}
    wanted = LAUNCHES[order.deployment.runtime].environment(order)
    return [{"name": name, "value": text} for name, text in wanted.items() if name not in users]


def _server(order: ArmOrder) -> Manifest:
    wanted, launch = order.deployment, LAUNCHES[order.deployment.runtime]
    found = pods.container(CONTAINER, order.image, wanted.pod_template, wanted.resources)
    found["args"] = [*launch.arguments(order), *wanted.args]
    found["env"] = [*_runtimes_own(order), *found["env"]]
    found["ports"] = [{"name": PORT_NAME, "containerPort": runtimes.port(order), "protocol": "TCP"}]
    for own in _mounted(order):
        found["volumeMounts"] += pods.mount(own.model, name=own.name, path=own.path)
    found["volumeMounts"] += pods.parts(order.model, launch.parts(order))
    found["volumeMounts"] += pods.writable(launch.writes)
    if (size := _shared_memory(order)) is not None:
        found["volumeMounts"].append(pods.shared_memory(size)[1])
    found |= _probes(order)
    if not launch.drains and wanted.drain_seconds:
        # The kubelet's own sleep: images need not have a program for it.
        found["lifecycle"] = {"preStop": {"sleep": {"seconds": wanted.drain_seconds}}}
    return found


def _probes(order: ArmOrder) -> Manifest:
    ready, launch = order.deployment.readiness, LAUNCHES[order.deployment.runtime]
    tries = -(-ready.startup_seconds // STARTUP_PERIOD)
    return {
        "startupProbe": _probe(launch.live, every=STARTUP_PERIOD, failures=tries),
        "readinessProbe": _probe(
            ready.path or launch.ready, every=ready.period_seconds, failures=ready.failure_threshold
        ),
        "livenessProbe": _probe(launch.live, every=10, failures=6),
    }


def _probe(path: str, *, every: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
