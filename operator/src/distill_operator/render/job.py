"""The batch/v1 Job of a stage."""

from distill_api.names import Annotation, Exit, Label, Stage

from distill_operator.render import labels, pod
from distill_operator.render.order import Manifest, Order

CLEANUP_SECONDS = 600
"""A workspace that cannot be removed must not hold the deletion of its job for ever."""
CLEANUP_RETRIES = 3


def manifest(order: Order) -> Manifest:
    """Return the Job: one pod at a time, tried again unless the trainer says it cannot help."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.name,
            "namespace": order.owner.namespace,
            "labels": labels.of_order(order) | _queue(order),
            "annotations": {
                Annotation.JOB_NAME.value: order.owner.name,
                Annotation.SETTINGS.value: order.settings_digest,
            },
            # A cleanup runs while its owner is deleted: a foreground deletion that waited for
            # its dependents would remove the cleanup first.
            "ownerReferences": labels.owned_by(
                order.owner, blocks=order.stage is not Stage.CLEANUP
            ),
        },
        "spec": _spec(order),
    }


def identity(namespace: str, name: str, *, suspend: bool) -> Manifest:
    """Return a Job that exists and stays as it is: who it is, and whether it is suspended."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": suspend},
    }


def _spec(order: Order) -> Manifest:
    cleanup = order.stage is Stage.CLEANUP
    spec: Manifest = {
        "suspend": order.suspend,
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": CLEANUP_RETRIES if cleanup else order.spec.retries,
        # Never two pods of a stage on one workspace: the next one starts when the last has ended.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _failure_policy(),
        "template": pod.template(order),
    }
    deadline = CLEANUP_SECONDS if cleanup else order.spec.stage_deadline_seconds
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    return spec


def _failure_policy() -> Manifest:
    # What no rule matches counts against backoffLimit.
    give_up = {
        "containerName": pod.CONTAINER,
        "operator": "In",
        "values": [Exit.GIVE_UP.value],
    }
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": give_up},
            {"action": "Ignore", "onPodConditions": disrupted},
        ]
    }


def _queue(order: Order) -> dict[str, str]:
    if order.spec.queue_name is None or order.stage is Stage.CLEANUP:
        return {}
    return {Label.QUEUE.value: order.spec.queue_name}
