"""Publishes to an OCI registry: an image that container runtimes mount and that oras pulls."""

import hashlib
import io
import json
import platform
from collections.abc import Callable, Mapping
from typing import IO, Any, Final

from distill_api.names import Reason
from distill_api.outcome import OciTarget
from distill_common import registry
from distill_common.registry import Client, Reference, RegistryError

from distill_trainer.errors import BadInput, TrainerError, TryAgain
from distill_trainer.publishing import layer as layers
from distill_trainer.publishing.layer import Layer
from distill_trainer.publishing.target import Parcel, Published
from distill_trainer.sources.oci import docker_config

ARTIFACT_TYPE: Final = "application/vnd.kubedistill.model.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def publish(target: OciTarget, parcel: Parcel) -> Published:
    """Push the bundle; pushing it again changes nothing. Raises BadInput or TryAgain."""
    parcel.secrets.require(target.secret_ref)
    parcel.scratch.mkdir(parents=True, exist_ok=True)
    layer = layers.write(parcel.bundle.path, parcel.scratch / "layer.tar.gz")
    config = encode(image_config(layer))
    manifest = encode(image_manifest(layer, config, parcel.annotations))
    reference = registry.parse(f"{target.repository}:{target.tag or parcel.tag}")
    with docker_config(parcel.secrets, target.secret_ref) as login:
        client = Client(reference.host, plain_http=target.plain_http, config=login.path)
        try:
            _push(client, reference, (layer, config, manifest), parcel.tell)
        except RegistryError as error:
            raise classify(target, error) from error
        finally:
            layer.path.unlink()
    digest = digest_of(manifest)
    return Published(f"oci://{reference.name}:{reference.tag}@{digest}", digest, ARTIFACT_TYPE)


def image_config(layer: Layer) -> dict[str, Any]:
    """Return the image's configuration; runtimes need its diff ids to unpack the layer."""
    machine = platform.machine()
    return {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }


def image_manifest(layer: Layer, config: bytes, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest: an image by its config, an artifact by its type.

    The title makes `oras pull` name the folder, the annotation makes it unpack the layer.
    """
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
        "layers": [
            {
                "mediaType": layers.MEDIA_TYPE,
                "digest": layer.digest,
                "size": layer.size,
                "annotations": {
                    "org.opencontainers.image.title": layers.ROOT,
                    "io.deis.oras.content.digest": layer.diff_id,
                    "io.deis.oras.content.unpack": "true",
                },
            }
        ],
        "annotations": dict(annotations),
    }


def encode(content: Mapping[str, Any]) -> bytes:
    """Write JSON in one form only, since its bytes are digested."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content: bytes) -> str:
    """Return the sha256 digest in OCI's notation."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _push(
    client: Client,
    reference: Reference,
    parts: tuple[Layer, bytes, bytes],
    tell: Callable[[int, int], None],
) -> None:
    layer, config, manifest = parts
    with layer.path.open("rb") as file:
        _upload(client, reference, layer.digest, (Told(file, layer.size, tell), layer.size))
    _upload(client, reference, digest_of(config), (io.BytesIO(config), len(config)))
    base = f"{client.prefix}://{reference.host}/v2/{reference.repository}/manifests"
    headers = {"Content-Type": MANIFEST_TYPE}
    registry.check(
        client.do_request(f"{base}/{reference.tag}", "PUT", data=manifest, headers=headers)
    )
    # What the registry gives back, by tag, has to be what was sent.
    _, stored = registry.manifest(client, reference)
    if stored != digest_of(manifest):
        raise RegistryError(0, f"the registry stored {stored} instead of {digest_of(manifest)}")


def _upload(client: Client, reference: Reference, digest: str, content: tuple[Any, int]) -> None:
    """Upload a blob unless the registry has it."""
    base = f"{client.prefix}://{reference.host}/v2/{reference.repository}/blobs"
    if client.do_request(f"{base}/{digest}", "HEAD").ok:
        return
    data, size = content
    begun = client.do_request(f"{base}/uploads/", "POST", headers={"Content-Length": "0"})
    registry.check(begun)
    place = client._get_location(begun, reference.container)  # noqa: SLF001 - oras's own helper
    separator = "&" if "?" in place else "?"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    url = f"{place}{separator}digest={digest}"
    registry.check(client.do_request(url, "PUT", data=data, headers=headers))


class Told:
    """A file that is read by an upload and tells how far it is."""

    def __init__(self, file: IO[bytes], size: int, tell: Callable[[int, int], None]) -> None:
        self._file, self._size, self._tell = file, size, tell

    def __len__(self) -> int:
        return self._size

    def read(self, count: int = -1) -> bytes:
        """Read and tell."""
        content = self._file.read(count)
        self._tell(self._file.tell(), self._size)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the start, for a request that is sent again."""
        return self._file.seek(offset, whence)


def classify(target: OciTarget, error: RegistryError) -> TrainerError:
    """Say what a registry's answer means for the job."""
    where = f"The registry of {target.repository}"
    if error.status in {401, 403} and target.secret_ref is not None:
        return TryAgain(
            Reason.SECRET_MISSING,
            f'{where} refused the credentials of Secret "{target.secret_ref.name}" ({error}):'
            " correct them or allow them to push, the stage is tried again",
        )
    if error.status in {400, 401, 403, 404, 405, 413, 415}:
        return BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f"{where} refused the artifact ({error}): check publish.oci.repository, and name a"
            " Secret that may push there in publish.oci.secretRef",
        )
    return TryAgain(
        Reason.REGISTRY_UNREACHABLE,
        f"{where} could not be reached ({error}): check that it runs, that pods may connect to it,"
        " and that plainHttp is set if it has no TLS",
    )
