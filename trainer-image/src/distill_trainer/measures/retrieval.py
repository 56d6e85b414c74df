"""Exact search by cosine; what it finds is measured by distill_common.measures."""

import torch
from distill_common.measures import KNOWN, Ranking, Relevant, per_query
from torch import Tensor

from distill_trainer.losses.reduction import unit

__all__ = ["KNOWN", "Ranking", "Relevant", "per_query", "search"]

BLOCK = 256
"""Queries compared with all documents at once."""


def search(queries: Tensor, documents: Tensor, depth: int) -> Ranking:
    """Find the depth nearest documents of each query; queries, documents [rows, width].

    Compares with every document, as the measures should tell about the model and not an index.
    """
    documents = unit(documents)
    depth = min(depth, len(documents))
    found = [
        torch.topk(unit(block) @ documents.T, depth, dim=1) for block in torch.split(queries, BLOCK)
    ]
    return Ranking(
        torch.cat([top.indices for top in found]).cpu().numpy(),
        torch.cat([top.values for top in found]).cpu().numpy(),
    )
