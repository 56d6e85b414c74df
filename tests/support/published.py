"""A student published to a registry, and a pod that reads it from an image volume."""

from pathlib import Path
from typing import Any

from distill_api.names import Stage
from distill_api.wire import Report
from distill_trainer.context import Context
from distill_trainer.stages import publish
from trainer import a_context, a_task, a_trained_student

BUSYBOX = "localhost/kubedistill/busybox:1"


def a_publication(folder: Path, repository: str, **target: Any) -> Context:
    """Return the context of a publish stage with one target."""
    oci = {"repository": repository, "plainHttp": True, **target}
    task = a_task(folder, Stage.PUBLISH, publish=[{"oci": oci}], cache=False)
    return a_context(task, folder)


def published(folder: Path, repository: str, weights: bytes = b"12345678") -> Report:
    """Publish a student whose weights are these bytes."""
    context = a_publication(folder, repository)
    a_trained_student(context, weights)
    return publish.run(context)


def a_pod_that_reads(reference: str) -> dict[str, Any]:
    """Build a pod that prints the weights of a published student."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "reader"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "reader",
                    "image": BUSYBOX,
                    "command": ["cat", "/mnt/models/model.safetensors"],
                    "volumeMounts": [{"name": "student", "mountPath": "/mnt"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            "volumes": [{"name": "student", "image": {"reference": reference}}],
        },
    }
