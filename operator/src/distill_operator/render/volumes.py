"""The volumes of a stage's pod, each beside the place where the trainer looks for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from distill_api import wire
from distill_api.names import PROGRESS_AUDIENCE, Annotation

from distill_operator.render import needs
from distill_operator.render.order import Manifest, Order

TOKEN_SECONDS = 3600
SECRET_MODE = 0o440
"""Readable by the pod's group (fsGroup), by nobody else."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume and where it is mounted."""

    name: str
    source: Manifest
    path: str
    read_only: bool = True

    def manifest(self) -> Manifest:
        """Return the entry of the pod's `volumes`."""
        return {"name": self.name} | self.source

    def mount(self) -> Manifest:
        """Return the entry of the container's `volumeMounts`."""
        return {"name": self.name, "mountPath": self.path, "readOnly": self.read_only}


def of_stage(order: Order) -> tuple[Volume, ...]:
    """Return every volume of a stage's pod."""
    return (
        _config(order),
        Volume("scratch", {"emptyDir": {}}, wire.SCRATCH_DIR, read_only=False),
        *_token(order),
        *_work(order),
        *_named(order),
        *_secrets(order),
    )


def _config(order: Order) -> Volume:
    # The pod's own annotations as files, so that the task is frozen with the Job.
    files = [_file(wire.TASK_FILE, Annotation.TASK)]
    if order.around.progress_ca:
        files.append(_file(wire.PROGRESS_CA_FILE, Annotation.PROGRESS_CA))
    return Volume("config", {"downwardAPI": {"items": files}}, wire.CONFIG_DIR)


def _file(path: str, annotation: Annotation) -> Manifest:
    field = f"metadata.annotations['{annotation}']"
    return {
        "path": path.removeprefix(f"{wire.CONFIG_DIR}/"),
        "fieldRef": {"apiVersion": "v1", "fieldPath": field},
    }


def _token(order: Order) -> Iterator[Volume]:
    if order.around.progress_url is None:
        return
    token = {
        "path": wire.TOKEN_FILE.removeprefix(f"{wire.TOKEN_DIR}/"),
        "audience": PROGRESS_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
    }
    source = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    yield Volume("progress-token", source, wire.TOKEN_DIR)


def _work(order: Order) -> Iterator[Volume]:
    if order.workspace_claim:
        yield _claimed("workspace", order.workspace_claim, wire.WORKSPACE_DIR, read_only=False)
    if order.cache_claim:
        yield _claimed("labels", order.cache_claim, wire.CACHE_DIR, read_only=False)


def _named(order: Order) -> Iterator[Volume]:
    # Named by their place in the list: a claim's name may be longer than a volume's.
    for index, (claim, read_only) in enumerate(needs.claims(order.spec, order.stage).items()):
        path = f"{wire.VOLUMES_DIR}/{claim}"
        yield _claimed(f"claim-{index}", claim, path, read_only=read_only)


def _secrets(order: Order) -> Iterator[Volume]:
    # Optional: a pod without its Secret starts, and says in its report which one is missing.
    for index, name in enumerate(needs.secrets(order.spec, order.stage)):
        source = {"secret": {"secretName": name, "optional": True, "defaultMode": SECRET_MODE}}
        yield Volume(f"secret-{index}", source, f"{wire.SECRETS_DIR}/{name}")


def _claimed(name: str, claim: str, path: str, *, read_only: bool) -> Volume:
    # A claim that is only read is mounted so by the container, not by the volume source: two
    # volumes of one claim must agree, and a driver may refuse `readOnly` attachments.
    return Volume(name, {"persistentVolumeClaim": {"claimName": claim}}, path, read_only=read_only)
