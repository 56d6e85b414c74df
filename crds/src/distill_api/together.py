"""Rules for stages of several pods: what they share has to be there for all of them."""

from typing import Final

from distill_api.base import rule

SEVERAL_PROCESSES: Final = (
    "(self.training.distributed.pods > 1 || self.training.distributed.processesPerPod > 1)"
)
_LABEL: Final = "self.podTemplate.labelPods > 1"
_TRIALS: Final = "(has(self.sweep) && self.sweep.parallelTrials > 1)"
_SEVERAL_PODS: Final = f"(self.training.distributed.pods > 1 || {_LABEL} || {_TRIALS})"
_SHARED: Final = "self.workspace.accessMode == 'ReadWriteMany'"


def _within_gpus(place: str, used: str) -> str:
    """Return that the processes of a pod are no more than the accelerators it is given."""
    gpus = f"self.podTemplate.{place}.limits.gpu"
    return (
        f"!({used}) || !has({gpus}) || {gpus} == 0"
        f" || self.training.distributed.processesPerPod <= {gpus}"
    )


_OWN: Final = "has(self.podTemplate.stageResources.train)"
_GPU_SENTENCE: Final = (
    "training.distributed.processesPerPod must not be above the accelerators of the train pod: each"
    " process takes one. Raise limits.gpu, or use more pods"
)

RULES: Final = [
    rule(
        f"!{_SEVERAL_PODS} || has(self.workspace.claimName) || has(self.workspace.uri)"
        f" || {_SHARED}",
        "several pods share the workspace, and the volume that is made for it is mounted by one"
        " node alone: set workspace.accessMode to ReadWriteMany with a storageClassName that has"
        " it, or name your own claimName or an object store (uri)",
        at=".workspace.accessMode",
    ),
    rule(
        f"!({_LABEL}) || {_SHARED} || has(self.workspace.uri)"
        " || has(self.workspace.labelCache.claimName) || has(self.workspace.labelCache.uri)"
        " || self.workspace.labelCache.disabled",
        "several pods label into one cache: set workspace.accessMode to ReadWriteMany, or"
        " workspace.labelCache to a claimName or uri of yours, or to disabled",
        at=".workspace.labelCache",
    ),
    rule(
        f"!({_LABEL}) || !has(self.teacher.endpoint)",
        "podTemplate.labelPods is for teachers whose weights run in the pods: a server takes"
        " requests side by side from one pod, so set labelPods to 1 and raise"
        " teacher.endpoint.maxConcurrency",
        at=".podTemplate.labelPods",
    ),
    rule(
        f"!{_TRIALS} || !has(self.workspace.uri)",
        "sweep.parallelTrials above 1 needs a volume, as the trials share a journal: use"
        " workspace.claimName or accessMode ReadWriteMany, or set parallelTrials to 1",
        at=".sweep.parallelTrials",
    ),
    rule(
        f"!has(self.sweep) || !{SEVERAL_PROCESSES}",
        "each trial of a sweep is trained by one process: set training.distributed.pods and"
        " processesPerPod to 1 and sweep.parallelTrials higher, or remove sweep",
        at=".training.distributed",
    ),
    rule(
        "!has(self.sweep) || !has(self.sweep.parameters)"
        " || !self.sweep.parameters.exists(p, p.path.startsWith('training.distributed'))",
        "sweep.parameters cannot vary training.distributed: the pods are the same for all trials",
        at=".sweep.parameters",
    ),
    rule(
        f"!{SEVERAL_PROCESSES} || self.training.distributed.strategy == 'DDP'"
        " || !has(self.training.lora) || !self.training.lora.quantizedBase",
        "training.lora.quantizedBase is trained by several processes with strategy DDP alone: the"
        " others cut weights into pieces, and 4-bit ones have scales that are not cut along with"
        " them. Use DDP, which keeps the 4-bit weights once on each accelerator and little more, as"
        " only adapters have gradients; or set quantizedBase to false",
        at=".training.distributed.strategy",
    ),
    rule(
        _within_gpus("stageResources.train", _OWN),
        _GPU_SENTENCE,
        at=".training.distributed.processesPerPod",
    ),
    rule(
        _within_gpus("resources", f"!{_OWN}"),
        _GPU_SENTENCE,
        at=".training.distributed.processesPerPod",
    ),
]
