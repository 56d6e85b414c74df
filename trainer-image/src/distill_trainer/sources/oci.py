"""Sources in an OCI registry: artifacts of plain files, and images with tar layers."""

import tempfile
from pathlib import Path
from typing import Final, Self

from distill_api.names import Reason
from distill_api.sources import SecretRef
from distill_common import artifacts, registry
from distill_common.archives import BadArchive
from distill_common.registry import Client, RegistryError

from distill_trainer.errors import BadInput, TrainerError
from distill_trainer.secrets import Secrets
from distill_trainer.sources.request import Fetched, Request

DOCKER_CONFIG: Final = ".dockerconfigjson"


def fetch(request: Request) -> Fetched:
    """Pull an artifact; its digest is the manifest's, so a tag is resolved here once."""
    try:
        reference = registry.parse(request.uri.removeprefix("oci://"))
    except ValueError as error:
        raise request.missing(str(error)) from error
    with docker_config(request.secrets, request.secret) as config:
        client = Client(reference.host, plain_http=request.plain_http, config=config.path)
        try:
            digest = artifacts.pull(client, reference, request.into, request.tell)
        except RegistryError as error:
            raise classify(request, error) from error
        except artifacts.NoLayers as error:
            raise request.missing(str(error)) from error
        except BadArchive as error:
            raise BadInput(Reason.BAD_DATA, str(error)) from error
    return Fetched(request.into, digest)


def classify(request: Request, error: RegistryError) -> TrainerError:
    """Say what a registry's answer means for a source."""
    if error.status in {401, 403}:
        return request.refused(str(error))
    if error.status == 404:
        return request.missing(str(error))
    return request.unreachable(str(error))


class _Config:
    """A docker config file that lives as long as it is needed."""

    def __init__(self, content: str | None) -> None:
        self._content = content
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.path: Path | None = None

    def __enter__(self) -> Self:
        if self._content is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="docker-")
            self.path = Path(self._folder.name) / "config.json"
            self.path.touch(mode=0o600)
            self.path.write_text(self._content, encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def docker_config(secrets: Secrets, ref: SecretRef | None) -> _Config:
    """Open a Secret of type kubernetes.io/dockerconfigjson as a file for oras."""
    return _Config(None if ref is None else secrets.read(ref, DOCKER_CONFIG))
