"""Brings the queries here: from a claim that is mounted, or from a registry."""

import shutil
import tempfile
from pathlib import Path

from distill_api import wire
from distill_api.data import DataSource
from distill_api.rollout_policies import Generation
from distill_common import artifacts, registry, rows, volumes
from distill_common.archives import BadArchive
from distill_common.registry import Client, RegistryError

from distill_server.errors import ServerError
from distill_server.prober import material, prompts
from distill_server.prober.prompts import Sent
from distill_server.prober.settings import Settings

DOCKER_CONFIG = ".dockerconfigjson"


class NoQueries(ServerError):
    """The queries cannot be had now; the sentence says why and what to do."""


def load(settings: Settings) -> Sent:
    """Return what is sent; NoQueries with a sentence. Reads files and network, so not in a loop."""
    source = settings.source
    folder = Path(tempfile.mkdtemp(prefix="queries-"))
    try:
        return _chosen(settings, _place(source, folder))
    except (rows.BadRows, BadArchive, artifacts.NoLayers, RegistryError, OSError) as error:
        raise NoQueries(f"the queries at {source.uri} cannot be used: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _chosen(settings: Settings, place: Path) -> Sent:
    kind, columns, most = settings.source.format, settings.columns, settings.max_queries
    if settings.component == "Generator":
        asked = rows.read_questions(place, kind, columns)
        how = settings.generation or Generation()
        return prompts.choose(asked, how, most=most, models=settings.models)
    found = rows.read(place, kind, columns)
    return material.choose(found, queries=most, documents=settings.searched)


def _place(source: DataSource, folder: Path) -> Path:
    """Return a file or folder with the data."""
    scheme = source.uri.partition("://")[0]
    if scheme in {"pvc", "file"}:
        return volumes.locate(source.uri, Path(wire.VOLUMES_DIR))
    if scheme == "oci":
        return _pulled(source, folder)
    raise NoQueries(f"{source.uri} is not read by the prober: push the queries to an oci:// or pvc")


def _pulled(source: DataSource, folder: Path) -> Path:
    try:
        reference = registry.parse(source.uri.removeprefix("oci://"))
    except ValueError as error:
        raise NoQueries(f"{source.uri} is no artifact: {error}") from error
    config = None
    if source.secret_ref is not None:
        config = Path(wire.SECRETS_DIR, source.secret_ref.name, DOCKER_CONFIG)
        if not config.is_file():
            raise NoQueries(f"Secret {source.secret_ref.name} has no {DOCKER_CONFIG}: create it")
    client = Client(reference.host, plain_http=source.plain_http, config=config)
    artifacts.pull(client, reference, folder, lambda _done, _total: None)
    return folder
