"""What a stage's pod asks for, and how many threads that makes."""

import math

from distill_api.job import DistillationJobSpec, PodTemplate
from distill_api.names import Stage
from distill_api.pods import ResourceList, Resources

from distill_operator.render.order import Manifest

_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
CLEANUP = Resources(
    requests=ResourceList(cpu="100m", memory="128Mi"), limits=ResourceList(memory="512Mi")
)
"""Removing a folder needs little, whatever training needed."""


def of_stage(spec: DistillationJobSpec, stage: Stage) -> Resources:
    """Return what the pod of a stage asks for: the stage's own entry, else the common one."""
    if stage is Stage.CLEANUP:
        return CLEANUP
    own: Resources | None = getattr(spec.pod_template.stage_resources, stage.lower())
    found = own or spec.pod_template.resources
    return _without_gpus(found) if stage is Stage.ENGINE else found


def _without_gpus(wanted: Resources) -> Resources:
    """Leave accelerators out: of the engine's pod, one container alone has them."""
    none = {"gpu": None}
    return Resources(
        requests=wanted.requests.model_copy(update=none),
        limits=wanted.limits.model_copy(update=none),
    )


def cores(spec: DistillationJobSpec, stage: Stage) -> float:
    """Return the cores that the pod was given: its limit, else its request, else one."""
    found = of_stage(spec, stage)
    return amount(found.limits.cpu or found.requests.cpu or "1")


def threads(spec: DistillationJobSpec, stage: Stage) -> int:
    """Return the threads of tensor operations, at least one."""
    return spec.pod_template.threads or max(1, math.ceil(cores(spec, stage)))


def gpus(spec: DistillationJobSpec, stage: Stage) -> int:
    """Return the accelerators that the pod was given."""
    return of_stage(spec, stage).limits.gpu or of_stage(spec, stage).requests.gpu or 0


def amount(quantity: str) -> float:
    """Return a quantity of cores as a number: `500m` is 0.5."""
    digits = quantity.rstrip("mkMGTPEi")
    return float(digits) * _UNITS.get(quantity[len(digits) :], 1.0)


def manifest(spec: DistillationJobSpec, stage: Stage) -> Manifest:
    """Return the `resources` of a stage's container."""
    return of_container(of_stage(spec, stage), spec.pod_template.gpu_resource)


def of_container(found: Resources, gpu_resource: str) -> Manifest:
    """Return a container's `resources`.

    Accelerators are limits only: Kubernetes takes the request from the limit, and refuses another.
    """
    limits = _amounts(found.limits)
    if count := found.limits.gpu or found.requests.gpu or 0:
        limits[gpu_resource] = str(count)
    return {"requests": _amounts(found.requests), "limits": limits}


def node_choice(template: PodTemplate) -> Manifest:
    """Return the fields of the pod that say which nodes may run it."""
    chosen: Manifest = {}
    if template.node_selector:
        chosen["nodeSelector"] = dict(template.node_selector)
    if template.runtime_class_name:
        chosen["runtimeClassName"] = template.runtime_class_name
    return chosen


def _amounts(wanted: ResourceList) -> dict[str, str]:
    named = {
        "cpu": wanted.cpu,
        "memory": wanted.memory,
        "ephemeral-storage": wanted.ephemeral_storage,
    }
    return {name: value for name, value in named.items() if value is not None}
