"""A stage of several pods: how many, the Service that gives them names, how they find each other.

The Job is Indexed: pod i is called `<job>-<i>`, also after it was replaced. Pods that train one
student start together, end together, and begin again together at the last complete checkpoint: a
process whose peer is gone ends as well, and the Job replaces each of them. Pods that label or that
train students of a sweep work apart, on one volume.
"""

from typing import Final

from distill_api import wire
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage

from distill_operator.render import labels
from distill_operator.render.order import Manifest, Order

PORT: Final = 29500
"""Where pod 0 holds the rendezvous; the usual one of torchrun."""


def pods(spec: DistillationJobSpec, stage: Stage) -> int:
    """Return how many pods work on a stage."""
    if stage is Stage.LABEL:
        return spec.pod_template.label_pods
    if stage is not Stage.TRAIN:
        return 1
    if spec.sweep is not None:
        return min(spec.sweep.parallel_trials, spec.sweep.max_trials)
    return spec.training.distributed.pods


def meets(order: Order) -> bool:
    """Tell whether the pods of a stage train one student, and so talk to each other."""
    together = order.spec.training.distributed.pods > 1 and order.spec.sweep is None
    return order.stage is Stage.TRAIN and together


def service(order: Order) -> Manifest | None:
    """Return the headless Service of a stage's pods; None where they do not talk to each other.

    All attempts of a job share it, as the names of their pods differ. It goes with the job.
    """
    if not meets(order):
        return None
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(order),
            "namespace": order.owner.namespace,
            "labels": labels.of_owner(order.owner),
            "ownerReferences": labels.owned_by(order.owner),
        },
        "spec": {
            "clusterIP": "None",
            "selector": _selector(order),
            # They look for each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "ports": [
                {"name": "rendezvous", "port": PORT, "protocol": "TCP"},
                {"name": "peers", "port": PORT + 1, "protocol": "TCP"},
            ],
        },
    }


def service_name(order: Order) -> str:
    """Return the Service's name; it begins with a letter, as older clusters ask of Services."""
    return f"gang-{order.owner.uid.replace('-', '')[:8]}-{order.stage.lower()}"


def of_job(order: Order) -> Manifest:
    """Return what the Job's spec says of its pods' number."""
    count = pods(order.spec, order.stage)
    if count == 1:
        return {"completions": 1, "parallelism": 1, "backoffLimit": order.retries}
    return {
        "completions": count,
        "parallelism": count,
        "completionMode": "Indexed",
        # Kubernetes counts pods, and all of them may fail in one try. The planner counts tries,
        # and ends the Job earlier by lowering this limit.
        "backoffLimit": (order.retries + 1) * count - 1,
    }


def of_pod(order: Order) -> Manifest:
    """Return what spreads the pods over nodes and makes their names known to each other."""
    if pods(order.spec, order.stage) == 1:
        return {}
    named = {"subdomain": service_name(order)} if meets(order) else {}
    return {
        **named,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(order)},
            }
        ],
    }


def _selector(order: Order) -> dict[str, str]:
    found = labels.of_order(order)
    return {key: value for key, value in found.items() if key in labels.OF_STAGE}


def environment(order: Order) -> dict[str, str]:
    """Return where the processes meet: at the pod with index 0."""
    if not meets(order):
        return {}
    first = f"{order.name}-0.{service_name(order)}"
    return {wire.ENV_MASTER_ADDRESS: first, wire.ENV_MASTER_PORT: str(PORT)}
