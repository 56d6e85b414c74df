"""Tiny students in folders as they are published, with a graph and a Triton repository."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny_models
import tiny_rankers
from distill_api.exports import TritonRepository
from distill_api.teacher import Prompts
from distill_common import exporting, graphs
from distill_trainer.quantizing import int8
from distill_trainer.students import token_ids
from distill_trainer.triton import repository
from sentence_transformers import CrossEncoder
from tritons import Triton

PROMPTS = Prompts(query="a0 a1 ", document="b2 ")

type Serve = Callable[..., Triton]


def student(folder: Path) -> None:
    """Write an embedding student with prompts, and an INT8 graph beside the float one."""
    made = tiny_models.teacher().eval()
    made.prompts = {"query": PROMPTS.query, "document": PROMPTS.document}
    made.default_prompt_name = "document"
    token_ids.save(PROMPTS, made, folder)
    _graph(made, folder, ["a0 b1 c2", "d3"])
    whole = folder / graphs.FOLDER / graphs.FLOAT
    int8.quantize(whole, whole.with_name(graphs.QUANTIZED), per_channel=True)


def reranker(folder: Path) -> None:
    """Write a cross-encoder with a float graph."""
    with TemporaryDirectory() as plain:
        tiny_rankers.write_plain(Path(plain))
        made = CrossEncoder(plain, device="cpu").eval()
    token_ids.save(Prompts(), made, folder)
    _graph(made, folder, [["a0 b1", "c2 d3 e4"], ["a0", "b1"]])


def _graph(model: exporting.Loaded, folder: Path, sample: list[str] | list[list[str]]) -> None:
    (folder / graphs.FOLDER).mkdir()
    features = model.preprocess(sample)
    rows = {name: value.numpy() for name, value in features.items() if hasattr(value, "numpy")}
    exporting.export(model, rows, folder / graphs.FOLDER / graphs.FLOAT)


def published(folder: Path, into: Path, **wanted: Any) -> Path:
    """Copy a student, with a repository in it; returns the copy, as an artifact's `models` is."""
    models = Path(shutil.copytree(folder, into / "models"))
    own = TritonRepository(**{"backend": "Python", "max_batch_size": 32, **wanted})
    repository.write(models, own, weights="sha256:w")
    return models
