"""An ONNX graph of the whole model, made once and kept in the cache folder."""

import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import torch
from distill_common import exporting, graphs
from distill_common.tokens import Integers

from distill_server.errors import BadModel
from distill_server.identity import Identity
from distill_server.models.loading import Loaded

GRAPH = graphs.FLOAT
FORMAT = 3
"""Raised when the same model would be exported to another graph."""
MARGIN = 4.0
"""Texts that the stage did not see, and processors that round otherwise, may be off by so many
times the largest difference that it measured; a broken graph is off by the numbers themselves."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shipped:
    """A graph that came with the model."""

    graph: Path
    tolerance: float = 0.0
    """How far its numbers may lie from the weights'; of a quantised one only, as measured."""


def shipped(folder: Path) -> Shipped | None:
    """Return the graph that came with the model, if any; a quantised one comes first.

    That one needs the note of the stage that made it: nobody else knows how far it may be off.
    """
    quantized, note = folder / graphs.FOLDER / graphs.QUANTIZED, folder / graphs.NOTE
    if quantized.is_file() and note.is_file():
        return Shipped(quantized, MARGIN * _measured(note))
    found = folder / graphs.FOLDER / GRAPH
    return Shipped(found) if found.is_file() else None


def _measured(note: Path) -> float:
    """Return the largest difference to the float student that the quantize stage saw."""
    try:
        return float(json.loads(note.read_text(encoding="utf-8"))["largestDifference"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadModel(
            f"{note} does not say how far the quantised graph is off ({error}): publish the model"
            " anew, or remove the note and the graph"
        ) from error


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
        exporting.export(model, sample, Path(scratch) / GRAPH)
        # Renaming a whole folder is atomic: whoever sees the graph sees all of it.
        _publish(Path(scratch), place)
    log.info("exported the model to ONNX in %.1f s", time.monotonic() - started)
    return graph


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
