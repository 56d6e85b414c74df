"""The security of every pod that we make: what Pod Security `restricted` asks for, and more."""

from distill_operator.render.order import Manifest

USER = 65532


def pod() -> Manifest:
    """Return the pod's securityContext."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        # Changing the owner of every file of a full workspace at each start takes minutes.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container() -> Manifest:
    """Return the container's securityContext."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
