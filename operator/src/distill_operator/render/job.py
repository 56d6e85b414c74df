"""The batch/v1 Job of a stage."""

from distill_api.names import Annotation, Exit, Label, Stage

from distill_operator.render import gang, labels, pod
from distill_operator.render.order import Manifest, Order

CLEANUP_SECONDS = 600
"""A workspace that cannot be removed must not hold the deletion of its job for ever."""


def manifest(order: Order) -> Manifest:
    """Return the Job, tried again unless the trainer says it cannot help."""
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


def identity(namespace: str, name: str, *, suspend: bool, no_more_tries: bool = False) -> Manifest:
    """Return a Job that exists and stays as it is: who it is, and whether it is suspended.

    no_more_tries: its failures so far are more than it may have, so that it fails for good.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": suspend} | ({"backoffLimit": 0} if no_more_tries else {}),
    }


def _spec(order: Order) -> Manifest:
    cleanup = order.stage is Stage.CLEANUP
    spec: Manifest = {
        "suspend": order.suspend,
        **gang.of_job(order),
        # Never a pod beside the one that it replaces, on the same workspace.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _failure_policy(order),
        "template": pod.template(order),
    }
    deadline = CLEANUP_SECONDS if cleanup else order.spec.stage_deadline_seconds
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    return spec


def _failure_policy(order: Order) -> Manifest:
    # What no rule matches counts against backoffLimit.
    give_up = {
        "containerName": pod.CONTAINER,
        "operator": "In",
        "values": [Exit.GIVE_UP.value],
    }
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    found: Manifest = {
        "rules": [
            {"action": "FailJob", "onExitCodes": give_up},
            {"action": "Ignore", "onPodConditions": disrupted},
        ]
    }
    if gang.meets(order):
        # The peer that was lost counts, or was disrupted; what it took along does not.
        echo = give_up | {"values": [Exit.PEER_LOST.value]}
        found["rules"].append({"action": "Ignore", "onExitCodes": echo})
    return found


def _queue(order: Order) -> dict[str, str]:
    if order.spec.queue_name is None or order.stage is Stage.CLEANUP:
        return {}
    return {Label.QUEUE.value: order.spec.queue_name}
