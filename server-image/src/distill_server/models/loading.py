"""A folder becomes a model of sentence-transformers: safetensors only, none of its own code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from distill_server.errors import BadModel

type Loaded = SentenceTransformer | CrossEncoder

CLASSIFIER = "ForSequenceClassification"


def is_reranker(folder: Path) -> bool:
    """Tell a cross-encoder from an embedding model by what the folder says of itself."""
    own = _json(folder / "config_sentence_transformers.json").get("model_type")
    if own is not None or (folder / "modules.json").is_file():
        return own == "CrossEncoder"
    architectures = _json(folder / "config.json").get("architectures") or [""]
    return str(architectures[0]).endswith(CLASSIFIER)


def load(folder: Path) -> Loaded:
    """Load in float32; BadModel when the folder cannot be served.

    Runs on a GPU where there is one.
    """
    _refuse_without_weights(folder)
    made: type[Loaded] = CrossEncoder if is_reranker(folder) else SentenceTransformer
    try:
        model = made(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise BadModel(
            f"{folder} cannot be loaded ({error}): a folder of sentence-transformers, or one with"
            " config.json, safetensors and a tokenizer of an architecture that transformers knows,"
            " is expected"
        ) from error
    _refuse_what_cannot_be_served(model)
    model.eval()
    return model


def _refuse_without_weights(folder: Path) -> None:
    if not folder.is_dir():
        raise BadModel(f"there is no folder {folder}: mount the model there, or set --model")
    if not any(folder.rglob("*.safetensors")):
        raise BadModel(
            f"{folder} holds no *.safetensors: mount the model's folder itself; weights in pickled"
            " files (*.bin) are never read, convert them"
        )


def _refuse_what_cannot_be_served(model: Loaded) -> None:
    if isinstance(model, CrossEncoder):
        if model.num_labels != 1:
            raise BadModel(
                f"the classifier has {model.num_labels} labels, and a reranker has exactly one: its"
                " score"
            )
        return
    if any(isinstance(module, Pooling) and not module.include_prompt for module in model):
        raise BadModel(
            "the model's pooling leaves its prompt out (include_prompt is false), which this server"
            " cannot do in batches of several prompts: serve another model"
        )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadModel(f"{path} is no JSON ({error}): publish the model anew") from error
    return content
