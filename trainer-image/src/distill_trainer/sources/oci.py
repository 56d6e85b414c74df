"""Sources in an OCI registry: artifacts of plain files, and images with tar layers."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from distill_api.sources import SecretRef

from distill_trainer import registry
from distill_trainer.errors import TrainerError
from distill_trainer.registry import Client, Reference, RegistryError
from distill_trainer.secrets import Secrets
from distill_trainer.sources import archives
from distill_trainer.sources.request import Fetched, Request

TITLE: Final = "org.opencontainers.image.title"
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
            manifest, digest = registry.manifest(client, reference)
            layers = _layers(manifest, request)
            pinned = Reference(reference.host, reference.repository, None, digest)
            _pull(client, pinned, layers, request)
        except RegistryError as error:
            raise classify(request, error) from error
    return Fetched(request.into, digest)


def classify(request: Request, error: RegistryError) -> TrainerError:
    """Say what a registry's answer means for a source."""
    if error.status in {401, 403}:
        return request.refused(str(error))
    if error.status == 404:
        return request.missing(str(error))
    return request.unreachable(str(error))


def _layers(manifest: Mapping[str, Any], request: Request) -> list[dict[str, Any]]:
    if "layers" not in manifest:
        raise request.missing("it is an index of several images; name one of them by its digest")
    layers: list[dict[str, Any]] = manifest["layers"]
    return layers


def _pull(
    client: Client, reference: Reference, layers: list[dict[str, Any]], request: Request
) -> None:
    total = sum(int(layer["size"]) for layer in layers)
    done = 0
    for number, layer in enumerate(layers):
        blob = request.into / f".layer-{number}"
        done = _download(client, reference, layer, blob, (request, done, total))
        _place(layer, blob, request.into)


def _download(
    client: Client,
    reference: Reference,
    layer: Mapping[str, Any],
    blob: Path,
    told: tuple[Request, int, int],
) -> int:
    """Download a layer and check its digest; returns the bytes done so far."""
    request, done, total = told
    url = f"{client.prefix}://{reference.container.get_blob_url(layer['digest'])}"
    response = client.do_request(url, stream=True)
    registry.check(response)
    hasher = hashlib.sha256()
    with blob.open("wb") as file:
        for chunk in response.iter_content(registry.CHUNK):
            file.write(chunk)
            hasher.update(chunk)
            done += len(chunk)
            request.tell(done, total)
    if f"sha256:{hasher.hexdigest()}" != layer["digest"]:
        raise RegistryError(0, f"layer {layer['digest']} arrived damaged")
    return done


def _place(layer: Mapping[str, Any], blob: Path, into: Path) -> None:
    """Unpack a tar layer, or give a plain layer the file name that it carries."""
    if "tar" in layer.get("mediaType", ""):
        archives.unpack(blob, into)
        blob.unlink()
        return
    title = (layer.get("annotations") or {}).get(TITLE) or layer["digest"].replace(":", "-")
    name = Path(*[part for part in Path(title).parts if part not in {"/", "..", "."}])
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    blob.rename(target)
    if archives.is_archive(target.name):
        archives.unpack(target, target.parent)
        target.unlink()


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
