"""What a stage is given to work with."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_api import wire
from distill_api.names import Reason
from distill_api.sources import SecretRef
from distill_api.wire import Task

from distill_trainer import storage
from distill_trainer.errors import TryAgain
from distill_trainer.progress import Progress
from distill_trainer.secrets import Secrets
from distill_trainer.usage import Meter
from distill_trainer.workspace import Workspace

NO_CHECKSUMS: Final = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
"""For other stores than Amazon's: since 1.36 botocore sends a CRC with each upload, which Google's
and others answer with SignatureDoesNotMatch (github.com/boto/boto3/issues/4400)."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the pod's folders are; other ones in local runs."""

    scratch: Path
    """Temporary files."""
    volumes: Path
    """Claims of `pvc://` URIs, by name."""
    secrets: Path
    """Secrets, by name."""


@dataclass(frozen=True, slots=True)
class Context:
    """The task and the ways into the world."""

    task: Task
    workspace: Workspace
    secrets: Secrets
    progress: Progress
    stop: threading.Event
    """Set when the pod is asked to end: save what is done, then raise `stopped()`."""
    places: Places
    pod: int = 0
    """Which of the stage's pods this is."""

    @property
    def scratch(self) -> Path:
        """Return the folder for temporary files."""
        return self.places.scratch

    @property
    def volumes(self) -> Path:
        """Return the folder in which claims are mounted by name."""
        return self.places.volumes

    def check_stop(self) -> None:
        """Raise TryAgain where the pod was asked to end."""
        if self.stop.is_set():
            raise stopped()


def stopped() -> TryAgain:
    """Return the failure of a stage that was asked to end."""
    return TryAgain(
        Reason.EVICTED, "The pod was asked to end before the stage was done; what is done is kept"
    )


def build(task: Task, places: Places, progress: Progress, stop: threading.Event) -> Context:
    """Open the workspace and the label cache of a task."""
    secrets = Secrets(places.secrets, task.job.namespace)
    mirrors = places.scratch / "mirror"
    spec = task.spec.workspace
    options = store_options(secrets, spec.secret_ref, task.workspace)
    folder = storage.open_folder(task.workspace, mirrors, options)
    shared = None
    if task.label_cache is not None:
        cache_options = store_options(secrets, spec.secret_ref, task.label_cache)
        shared = storage.open_folder(task.label_cache, mirrors, cache_options)
    workspace = Workspace(folder, task.job.uid, Meter(task.gpus), shared)
    return Context(task, workspace, secrets, progress, stop, places, pod_index())


def pod_index() -> int:
    """Return which of the stage's pods this is; 0 where there is one."""
    return int(os.environ.get(wire.ENV_POD_INDEX, "0"))


def store_options(secrets: Secrets, ref: SecretRef | None, uri: str) -> Mapping[str, Any]:
    """Return fsspec's options for a URI, with the credentials of a Secret.

    s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL, AWS_REGION;
    gs: GOOGLE_APPLICATION_CREDENTIALS, the JSON of a service account. Without a Secret the
    environment's own identity is used.
    """
    if ref is None or not uri.startswith(("s3://", "gs://")):
        return {}
    if uri.startswith("gs://"):
        import json

        return {"token": json.loads(secrets.read(ref, "GOOGLE_APPLICATION_CREDENTIALS"))}
    options: dict[str, Any] = {
        "key": secrets.read(ref, "AWS_ACCESS_KEY_ID"),
        "secret": secrets.read(ref, "AWS_SECRET_ACCESS_KEY"),
    }
    extra = {
        "token": secrets.find(ref, "AWS_SESSION_TOKEN"),
        "endpoint_url": secrets.find(ref, "AWS_ENDPOINT_URL"),
    }
    options |= {name: value for name, value in extra.items() if value}
    if "endpoint_url" in options:
        options["config_kwargs"] = dict(NO_CHECKSUMS)
    if region := secrets.find(ref, "AWS_REGION"):
        options["client_kwargs"] = {"region_name": region}
    return options
