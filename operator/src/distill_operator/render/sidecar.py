"""vLLM beside the trainer of an evaluate stage, in the container that a rollout would have.

It is an init container that goes on (a sidecar): it starts before the trainer and is ended after
it, and the Job is complete without it.
"""

from collections.abc import Iterator
from typing import Final

from distill_api import wire
from distill_api.names import Stage
from distill_api.outcome import Vllm
from distill_api.pods import EnvironmentVariable
from distill_api.rollout_arms import ServingPodTemplate

from distill_operator.render import volumes
from distill_operator.render.order import Manifest, Order
from distill_operator.render.rollout import pods, runtimes
from distill_operator.render.volumes import Volume

CONTAINER: Final = "vllm"
SCRATCH: Final = "vllm-scratch"
"""The trainer's own scratch folder holds its program and models, and is only read."""


def wanted(order: Order) -> Vllm | None:
    """Return what a benchmark asks of vLLM; None for a stage without."""
    benchmark = order.spec.evaluation.benchmark
    return benchmark.vllm if benchmark is not None and order.stage is Stage.EVALUATE else None


def container(order: Order, asked: Vllm) -> Manifest:
    """Return the sidecar: it sees the models, and no Secret, no token, no task."""
    found = pods.container(
        CONTAINER, asked.image, _template(order, asked), asked.resources, scratch=SCRATCH
    )
    memory = pods.shared_memory(asked.shared_memory)[1]
    models = [volume.mount() | {"readOnly": True} for volume in _models(order)]
    return found | {
        "restartPolicy": "Always",
        "command": ["python3", wire.VLLM_PROGRAM, "--port", str(wire.VLLM_LAUNCHER_PORT)],
        "volumeMounts": [*found["volumeMounts"], memory, *models],
    }


def extra_volumes(asked: Vllm) -> list[Manifest]:
    """Return the volumes that the sidecar has for itself."""
    return [{"name": SCRATCH, "emptyDir": {}}, pods.shared_memory(asked.shared_memory)[0]]


def _template(order: Order, asked: Vllm) -> ServingPodTemplate:
    users = {own.name for own in asked.env}
    ours = [
        EnvironmentVariable(name=name, value=text)
        for name, text in runtimes.NAMED_USER.items()
        if name not in users
    ]
    template = order.spec.pod_template
    return ServingPodTemplate(
        image_pull_policy=template.image_pull_policy,
        gpu_resource=template.gpu_resource,
        env=[*ours, *asked.env],
    )


def _models(order: Order) -> Iterator[Volume]:
    """Yield where models are: the workspace, claims of models, and what was fetched."""
    for volume in volumes.of_stage(order):
        if volume.path in {wire.SCRATCH_DIR, wire.WORKSPACE_DIR} or volume.path.startswith(
            f"{wire.VOLUMES_DIR}/"
        ):
            yield volume
