"""The whole model as one function from token tensors to vectors or scores, and its parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from distill_server.models.loading import Loaded

EMBEDDING = "sentence_embedding"
SCORE = "score"


class Pipeline(torch.nn.Module):
    """Body, pooling, linear layer and normalising of an embedding model; all of a reranker."""

    def __init__(self, model: Loaded, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return [batch, width]; a reranker's width is 1.

        tensors: int64 [batch, length], in the order of names.
        """
        return finish(self.model, self.model(dict(zip(self.names, tensors, strict=True))))


def output_name(model: Loaded) -> str:
    """Name the result in a graph."""
    return SCORE if isinstance(model, CrossEncoder) else EMBEDDING


def finish(model: Loaded, features: Mapping[str, Any]) -> torch.Tensor:
    """Take the result [batch, width] out of what the modules left."""
    if not isinstance(model, CrossEncoder):
        vectors: torch.Tensor = features[EMBEDDING]
        return vectors
    return activate(model, features["scores"])


def activate(model: CrossEncoder, logits: torch.Tensor) -> torch.Tensor:
    """Turn a classifier's logits into scores [batch, 1], by the model's own activation."""
    scores: torch.Tensor = model.activation_fn(logits)
    return scores.reshape(-1, 1)


def tail(model: Loaded, body: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Do what follows the body: pooling and the rest, or a reranker's activation.

    body: token states [batch, length, width], or logits [batch, 1]; mask int64 [batch, length].
    """
    if isinstance(model, CrossEncoder):
        return activate(model, body)
    features: dict[str, Any] = {"token_embeddings": body, "attention_mask": mask}
    for module in list(model)[1:]:
        features = module(features)
    return finish(model, features)
