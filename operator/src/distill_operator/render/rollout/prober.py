"""The prober: one pod that sends held-out queries to both arms and scores them in pairs."""

from typing import Final

from distill_operator.render.order import Manifest
from distill_operator.render.rollout import labels, pods
from distill_operator.render.rollout.order import ProberOrder
from distill_operator.render.rollout.runtimes import MODEL_DIR

COMPONENT: Final = "prober"


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
                "metadata": {"labels": labels.of_pods(order.owner, COMPONENT, order.revision)},
                "spec": _pod(order),
            },
        },
    }


def _pod(order: ProberOrder) -> Manifest:
    container = pods.container(COMPONENT, order.image, order.template)
    container["command"] = ["python", "-m", "distill_server.prober"]
    container["args"] = _arguments(order)
    container["ports"] = [{"name": "http", "containerPort": order.port, "protocol": "TCP"}]
    container["volumeMounts"] = [*container["volumeMounts"], *pods.mount(order.queries)]
    container["readinessProbe"] = {
        "httpGet": {"path": "/healthz", "port": "http"},
        "periodSeconds": 5,
    }
    return pods.spec(order.template, container, pods.volume(order.queries, image_volumes=True))


def _arguments(order: ProberOrder) -> list[str]:
    folder = "models" if order.queries.reference else order.queries.path
    flags = {
        "--teacher-url": order.teacher_url,
        "--student-url": order.student_url,
        "--model": order.served_name,
        "--queries": f"{MODEL_DIR}/{folder}".rstrip("/"),
        "--metrics": ",".join(order.metrics),
        "--per-second": f"{order.per_second:g}",
        "--port": str(order.port),
    }
    return [word for pair in flags.items() for word in pair]
