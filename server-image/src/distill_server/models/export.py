"""An ONNX graph of the whole model, made once and kept in the cache folder."""

import logging
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import onnxruntime
import torch

from distill_server.batching.padding import Integers
from distill_server.identity import Identity
from distill_server.models import pipeline
from distill_server.models.loading import Loaded

GRAPH = "model.onnx"
FORMAT = 1
"""Raised when the same model would be exported to another graph."""

log = logging.getLogger(__name__)


def shipped(folder: Path) -> Path | None:
    """Return the graph that came with the model, if any."""
    found = folder / "onnx" / GRAPH
    return found if found.is_file() else None


def cached(model: Loaded, sample: dict[str, Integers], identity: Identity) -> Path:
    """Return the exported graph, from the cache where it is there.

    sample: a batch of at least 2 sequences of at least 2 tokens, by which the graph is traced.
    """
    versions = f"{FORMAT}-{torch.__version__}-{onnxruntime.__version__}".replace("+", "-")
    place = _cache() / f"{identity.content.removeprefix('sha256:')[:24]}-{versions}"
    graph = place / GRAPH
    if graph.is_file():
        return graph
    place.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        _export(model, sample, Path(scratch) / GRAPH)
        # Renaming a whole folder is atomic: whoever sees the graph sees all of it.
        _publish(Path(scratch), place)
    log.info("exported the model to ONNX in %.1f s", time.monotonic() - started)
    return graph


def _export(model: Loaded, sample: dict[str, Integers], target: Path) -> None:
    """Trace the model.

    By the TorchScript exporter: the one by torch.export takes half a minute of a pod's start for
    what this one does in a second, and every graph is held against torch before it serves.
    """
    names = list(sample)
    tensors = tuple(torch.from_numpy(rows).to(model.device) for rows in sample.values())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            pipeline.Pipeline(model, names).eval(),
            tensors,
            str(target),
            input_names=names,
            output_names=[pipeline.output_name(model)],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
            dynamo=False,
        )


def _publish(scratch: Path, place: Path) -> None:
    made = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.copytree(scratch, made)
    try:
        made.rename(place)
    except OSError:
        # Another server of this machine was faster; its graph is as good.
        shutil.rmtree(made)


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "kubedistill", "onnx")
