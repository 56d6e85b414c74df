"""Fetches models and data, whatever their URI's scheme is."""

import logging
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from distill_api.data import DataSource
from distill_api.sources import ModelSource, StoredModel

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.publishing import listing
from distill_trainer.sources import models
from distill_trainer.sources.request import Fetched, Request, Role

type Fetch = Callable[[Request], Fetched]

log = logging.getLogger(__name__)

MODULES: Final[Mapping[str, str]] = {
    "file": "volumes",
    "pvc": "volumes",
    "oci": "oci",
    "s3": "objects",
    "gs": "objects",
    "http": "web",
    "https": "web",
    "hf": "hub",
}


def fetch(request: Request) -> Fetched:
    """Bring a source here. Raises BadInput or TryAgain with a sentence."""
    module = import_module(f"distill_trainer.sources.{MODULES[request.scheme]}")
    run: Fetch = module.fetch
    request.secrets.require(request.secret)
    log.info("fetching %s %s", request.role.name.lower(), request.uri.partition("?")[0])
    fetched = run(request)
    # What kubedistill has published carries the digests of its files; a hub gives a part of them.
    if fetched.path.is_dir() and (
        wrong := listing.damage(fetched.path, whole=request.scheme != "hf")
    ):
        raise request.damaged(wrong)
    return fetched


def fetch_model(context: Context, source: ModelSource, role: Role = Role.STUDENT) -> Fetched:
    """Fetch a model and check that it is one: configuration, safetensors, no pickles."""
    fetched = _once(context, source, role)
    return Fetched(models.checked(fetched.path, source, role), fetched.digest)


def fetch_tokenizer(context: Context, source: StoredModel) -> Path:
    """Fetch the folder of a served model's tokenizer; its weights need not be there."""
    return models.tokenizer(_once(context, source, Role.TOKENIZER).path, source)


def fetch_data(context: Context, source: DataSource, role: Role = Role.DATA) -> Fetched:
    """Fetch the data, or a sample of production's: a file, or a folder of files."""
    return _once(context, source, role)


def _once(context: Context, source: StoredModel | DataSource, role: Role) -> Fetched:
    """Fetch into a folder named after the URI, empty at first."""
    name = fingerprints.short(fingerprints.of([source.uri, getattr(source, "revision", None)]))
    into = context.scratch / "sources" / f"{role.name.lower()}-{name}"
    _empty(into)
    return fetch(
        Request(
            role=role,
            uri=source.uri,
            into=into,
            secrets=context.secrets,
            volumes=context.volumes,
            secret=source.secret_ref,
            plain_http=source.plain_http,
            revision=getattr(source, "revision", None),
            tell=_teller(context, role),
        )
    )


def _teller(context: Context, role: Role) -> Callable[[float, float], None]:
    what = f"fetch {role.name.lower()}"

    def tell(done: float, total: float) -> None:
        megabytes = {"megabytes": round(done / 1e6, 1), "ofMegabytes": round(total / 1e6, 1)}
        context.progress.mention(megabytes, what)

    return tell


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
