"""A folder becomes a model of sentence-transformers: safetensors only, none of its own code."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from distill_server.errors import BadModel
from distill_server.models import folders

type Loaded = SentenceTransformer | CrossEncoder


def load(folder: Path) -> Loaded:
    """Load in float32; BadModel when the folder cannot be served.

    Runs on a GPU where there is one.
    """
    folders.refuse_without_weights(folder)
    made: type[Loaded] = CrossEncoder if folders.is_reranker(folder) else SentenceTransformer
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
