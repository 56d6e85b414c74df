"""Publishes to an OCI registry: an image that container runtimes mount and that oras pulls."""

import json
import platform
from collections.abc import Mapping
from typing import Any, Final

from distill_api.names import Reason
from distill_api.targets import OciTarget
from distill_common import registry
from distill_common.registry import Client, RegistryError

from distill_trainer.errors import BadInput, TrainerError, TryAgain
from distill_trainer.publishing import history, manifests, signing, uploading
from distill_trainer.publishing import layer as layers
from distill_trainer.publishing.history import Edition
from distill_trainer.publishing.layer import Layer
from distill_trainer.publishing.manifests import CONFIG_TYPE, MANIFEST_TYPE, digest_of, encode
from distill_trainer.publishing.signing import Key
from distill_trainer.publishing.target import Parcel, Published
from distill_trainer.publishing.uploading import Blob, Uploader
from distill_trainer.sources.oci import docker_config

ARTIFACT_TYPE: Final = "application/vnd.kubedistill.model.v1+json"
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def publish(target: OciTarget, parcel: Parcel, known: str | None = None) -> Published:
    """Push the bundle; pushing it again changes nothing. Raises BadInput or TryAgain.

    known: digest of the manifest where an attempt before has published it already.
    """
    parcel.secrets.require(target.secret_ref)
    key = _key(target, parcel)
    parcel.scratch.mkdir(parents=True, exist_ok=True)
    where = registry.parse(f"{target.repository}:{target.tag or parcel.tag}")
    with docker_config(parcel.secrets, target.secret_ref) as login:
        client = Client(where.host, plain_http=target.plain_http, config=login.path)
        uploader = Uploader(client, where, parcel.notes, parcel.tell, uploading.CHUNK)
        try:
            return _published(target, parcel, uploader, key, known)
        except RegistryError as error:
            raise classify(target, error) from error


def _published(
    target: OciTarget, parcel: Parcel, uploader: Uploader, key: Key | None, known: str | None
) -> Published:
    client, where = uploader.client, uploader.reference
    tag = where.tag or parcel.tag
    manifest = manifests.get(client, where, tag) if known else None
    if manifest is None or digest_of(manifest) != known:
        manifest = _pushed(parcel, uploader)
    digest = digest_of(manifest)
    # The signature before the tag, so that nobody finds an unsigned student by its name.
    signature = _sign(uploader, key, digest) if key else None
    manifests.put(client, where, tag, manifest, MANIFEST_TYPE)
    # What the registry gives back, by tag, has to be what was sent.
    stored = manifests.resolve(client, where, tag)
    if stored != digest:
        raise RegistryError(0, f"the registry stored {stored} instead of {digest}")
    removed = None
    if target.retention is not None:
        new = Edition(digest, len(manifest), tag, parcel.now)
        removed = history.retain(client, where, target.retention, new, parcel.served)
    return Published(
        f"oci://{where.name}:{tag}@{digest}", digest, ARTIFACT_TYPE, signature, removed
    )


def _pushed(parcel: Parcel, uploader: Uploader) -> bytes:
    """Push layer, configuration and manifest without a tag; returns the manifest."""
    layer = layers.write(parcel.bundle.path, parcel.scratch / "layer.tar.gz")
    try:
        config = encode(image_config(layer))
        manifest = encode(image_manifest(layer, config, parcel.annotations))
        blobs = (
            Blob(layer.digest, layer.size, layer.path),
            Blob(digest_of(config), len(config), content=config),
        )
        for blob in blobs:
            uploader.upload(blob)
            if not uploader.has(blob):
                raise RegistryError(0, f"the registry does not hold blob {blob.digest} whole")
    finally:
        layer.path.unlink()
    digest = digest_of(manifest)
    manifests.put(uploader.client, uploader.reference, digest, manifest, MANIFEST_TYPE)
    return manifest


def _key(target: OciTarget, parcel: Parcel) -> Key | None:
    """Return the key to sign with, before anything is sent; None where nothing is signed."""
    if target.sign is None:
        return None
    ref = target.sign.secret_ref
    pem, password = (
        parcel.secrets.read(ref, signing.KEY),
        parcel.secrets.find(ref, signing.PASSWORD),
    )
    try:
        return signing.load(pem, password)
    except signing.BadKey as error:
        raise signing.unusable(ref.name, error) from error


def _sign(uploader: Uploader, key: Key, digest: str) -> str:
    """Add our signature to those that the manifest has; returns where they are."""
    client, where = uploader.client, uploader.reference
    tag = signing.tag(digest)
    payload = signing.payload(where.name, digest)
    signed = signing.layer(digest_of(payload), len(payload), signing.sign(key, payload))
    before = json.loads(manifests.get(client, where, tag) or b"{}").get("layers") or []
    if signed not in before:
        found = [*before, signed]
        config = encode(signing.config(found))
        uploader.upload(Blob(signed["digest"], len(payload), content=payload))
        uploader.upload(Blob(digest_of(config), len(config), content=config))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
            "layers": found,
        }
        manifests.put(client, where, tag, encode(manifest), MANIFEST_TYPE)
    return f"oci://{where.name}:{tag}"


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
