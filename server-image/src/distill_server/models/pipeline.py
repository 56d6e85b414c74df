"""The parts of a model that a graph may leave to do."""

from typing import Any

import torch
from distill_common.exporting import Pipeline, activate, finish, output_name
from distill_common.graphs import EMBEDDING, SCORE
from sentence_transformers import CrossEncoder

from distill_server.models.loading import Loaded

__all__ = ["EMBEDDING", "SCORE", "Pipeline", "activate", "finish", "output_name", "tail"]


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
