"""Why a pod does not run yet, in a reason and a sentence that says what to do."""

import re
from collections.abc import Callable
from typing import Final

from distill_api.names import Reason, Stage

from distill_operator.plan import text
from distill_operator.plan.failure import Trouble
from distill_operator.plan.model import ObservedClaim, ObservedPod

_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)
_MISSING_CLAIM: Final = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_NORMAL: Final = frozenset({"ContainerCreating", "PodInitializing"})


def of_pod(pod: ObservedPod, claims: tuple[ObservedClaim, ...]) -> Trouble | None:
    """Return what keeps a pod from starting; None while it starts as it should."""
    if pod.phase != "Pending":
        return None
    for look in _LOOKS:
        if found := look(pod, claims):
            return found
    return None


def _no_claim(pod: ObservedPod, _: tuple[ObservedClaim, ...]) -> Trouble | None:
    found = _MISSING_CLAIM.search(pod.unschedulable or "")
    if found is None:
        return None
    message = (
        f"{_who(pod)} waits: there is no PersistentVolumeClaim {found[1]} in the job's namespace."
        " Create it, or create a new job with the right claim name"
    )
    return Trouble(Reason.VOLUME_UNAVAILABLE, message)


def _no_node(pod: ObservedPod, claims: tuple[ObservedClaim, ...]) -> Trouble | None:
    if pod.unschedulable is None:
        return None
    unbound = [claim.name for claim in claims if claim.phase == "Pending"]
    if "PersistentVolumeClaim" in pod.unschedulable and unbound:
        advice = (
            f"PersistentVolumeClaim {unbound[0]} has no volume: check workspace.storageClassName,"
            " workspace.size and that the cluster has a default StorageClass"
        )
        return Trouble(
            Reason.UNSCHEDULABLE, f"{_who(pod)} waits: {text.clause(pod.unschedulable)}. {advice}"
        )
    message = (
        f"{_who(pod)} finds no node: {text.clause(pod.unschedulable)}. Free or add nodes, or change"
        " podTemplate.resources, nodeSelector or tolerations"
    )
    return Trouble(Reason.UNSCHEDULABLE, message)


def _no_image(pod: ObservedPod, _: tuple[ObservedClaim, ...]) -> Trouble | None:
    if pod.waiting is None or pod.waiting[0] not in _IMAGE:
        return None
    also = " and evaluation.benchmark.vllm.image" if pod.stage is Stage.EVALUATE else ""
    message = (
        f"{_who(pod)} cannot pull its image ({pod.waiting[0]}): {text.clause(pod.waiting[1])}."
        f" Check podTemplate.image and podTemplate.imagePullSecrets{also}"
    )
    return Trouble(Reason.IMAGE_PULL_FAILED, message)


def _no_volume(pod: ObservedPod, _: tuple[ObservedClaim, ...]) -> Trouble | None:
    if pod.mount_problem is None:
        return None
    words = text.clause(pod.mount_problem)
    if "secret" in words.lower():
        message = f"{_who(pod)} cannot mount a Secret: {words}. Create it in the job's namespace"
        return Trouble(Reason.SECRET_MISSING, message)
    message = (
        f"{_who(pod)} cannot mount a volume: {words}. Check that the claim is bound, and that its"
        " access mode allows this node"
    )
    return Trouble(Reason.VOLUME_UNAVAILABLE, message)


def _no_container(pod: ObservedPod, _: tuple[ObservedClaim, ...]) -> Trouble | None:
    if pod.waiting is None or pod.waiting[0] in _NORMAL | _IMAGE:
        return None
    why, words = pod.waiting
    reason = Reason.SECRET_MISSING if "secret" in words.lower() else Reason.CRASHED
    return Trouble(reason, f"{_who(pod)} cannot start its container ({why}): {words}")


def _who(pod: ObservedPod) -> str:
    return f"Pod {pod.name} of {pod.stage}"


_LOOKS: Final[tuple[Callable[[ObservedPod, tuple[ObservedClaim, ...]], Trouble | None], ...]] = (
    _no_claim,
    _no_node,
    _no_image,
    _no_volume,
    _no_container,
)
