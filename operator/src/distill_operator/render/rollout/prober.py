"""The prober: one pod that sends held-out queries to both arms and scores them in pairs."""

from collections.abc import Iterator
from typing import Final

from distill_api import wire
from distill_api.probing import Protocol
from distill_api.rollout_arms import GRACE_SECONDS, ServingPodTemplate

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels, pods
from distill_operator.render.rollout.order import ProberOrder

COMPONENT: Final = "prober"
SECRET_MODE: Final = 0o440


def deployment(order: ProberOrder) -> Manifest:
    """Return the prober's Deployment: one replica, as its pairs are numbered."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": labels.metadata(order.owner, order.name, COMPONENT),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels.selector(order.owner, COMPONENT)},
            "template": {
                "metadata": {
                    "labels": labels.of_owner(order.owner) | labels.selector(order.owner, COMPONENT)
                },
                "spec": _pod(order),
            },
        },
    }


def service(order: ProberOrder) -> Manifest:
    """Return the Service that the gateway sends copies of users' requests to."""
    port = {"name": "http", "port": order.port, "targetPort": "http", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(order.owner, order.name, COMPONENT),
        "spec": {"selector": labels.selector(order.owner, COMPONENT), "ports": [port]},
    }


def _pod(order: ProberOrder) -> Manifest:
    template = ServingPodTemplate()
    container = pods.container(COMPONENT, order.image, template, order.prober.resources)
    container["command"] = ["python", "-m", "distill_server.prober"]
    container["args"] = list(_arguments(order))
    container["ports"] = [{"name": "http", "containerPort": order.port, "protocol": "TCP"}]
    container["readinessProbe"] = {
        "httpGet": {"path": "/healthz", "port": "http"},
        "periodSeconds": 5,
    }
    sources = list(_sources(order))
    container["volumeMounts"] = [*container["volumeMounts"], *(mount for _, mount in sources)]
    volumes = [volume for volume, _ in sources]
    return pods.spec(template, container, volumes, grace=GRACE_SECONDS)


def _arguments(order: ProberOrder) -> Iterator[str]:
    prober = order.prober
    flags = {
        "--component": order.component,
        "--teacher-url": order.teacher_url,
        "--student-url": order.student_url,
        "--model": order.served_name,
        "--source": prober.queries.model_dump_json(by_alias=True, exclude_none=True),
        "--columns": prober.columns.model_dump_json(by_alias=True, exclude_none=True),
        "--max-queries": str(prober.max_queries),
        "--documents": str(prober.documents),
        "--queries-per-minute": str(prober.queries_per_minute),
        "--timeout-seconds": str(prober.timeout_seconds),
        "--port": str(order.port),
    }
    if order.models is not None:
        flags["--models"] = order.models
    if prober.generation is not None:
        flags["--generation"] = prober.generation.model_dump_json(by_alias=True, exclude_none=True)
    for arm, protocol in (("teacher", order.teacher_protocol), ("student", order.student_protocol)):
        if protocol is not Protocol.OPEN_AI:
            flags[f"--{arm}-protocol"] = protocol.value
    yield from (word for pair in flags.items() for word in pair)
    for metric, measure in order.measures:
        yield from ("--measure", f"{metric}={measure}")
    for metric, measure in order.mirrored:
        yield from ("--mirrored-measure", f"{metric}={measure}")


def _sources(order: ProberOrder) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield volumes and mounts of what the queries' URI needs, where a stage's pod has them too."""
    queries = order.prober.queries
    if queries.uri.startswith("pvc://"):
        claim = queries.uri.removeprefix("pvc://").split("/", 1)[0]
        yield (
            {"name": "queries", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "queries", "mountPath": f"{wire.VOLUMES_DIR}/{claim}", "readOnly": True},
        )
    if queries.secret_ref is not None:
        name = queries.secret_ref.name
        source = {"secretName": name, "optional": True, "defaultMode": SECRET_MODE}
        yield (
            {"name": "secret", "secret": source},
            {"name": "secret", "mountPath": f"{wire.SECRETS_DIR}/{name}", "readOnly": True},
        )
