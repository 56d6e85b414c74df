"""One step's batch: its distinct texts, and as Rows which of them belong together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_trainer.losses.rows import Rows
from distill_trainer.training import order
from distill_trainer.training.pairs import Pairs


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimiser step learns from."""

    texts: NDArray[np.int64]
    """[texts]: ids of the distinct texts, rising; row i of the embeddings belongs to texts[i]."""
    rows: Rows
    """Which of them belong together."""
    examples: int
    """Records and lone documents."""


@dataclass(frozen=True, slots=True)
class Source:
    """Makes the batch of any step."""

    pairs: Pairs
    answers: Mapping[int, frozenset[int]]
    size: int
    seed: int
    with_lone: bool
    with_negatives: bool

    def batch(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step, counted from 0."""
        chosen = self.chosen(step)
        lone = self._lone(step)
        queries, documents = self.pairs.queries[chosen], self.pairs.documents[chosen]
        negatives = self.pairs.negatives[chosen] if self.with_negatives else _none(len(chosen))
        texts = np.unique(np.concatenate([queries, documents, negatives[negatives >= 0], lone]))
        candidates = np.unique(np.concatenate([documents, negatives[negatives >= 0]]))
        rows = Rows(
            query=_tensor(np.searchsorted(texts, queries), device),
            positive=_tensor(np.searchsorted(candidates, documents), device),
            candidates=_tensor(np.searchsorted(texts, candidates), device),
            excluded=self._excluded(queries, documents, candidates).to(device),
            negatives=_tensor(_places(candidates, negatives), device),
        )
        return Batch(texts, rows, len(chosen) + len(lone))

    def chosen(self, step: int) -> NDArray[np.int64]:
        """Return which records the batch of a step has."""
        return order.records(len(self.pairs), self.size, step, seed=self.seed)

    def _lone(self, step: int) -> NDArray[np.int64]:
        if not self.with_lone or len(self.pairs.lone) == 0:
            return np.empty(0, dtype=np.int64)
        places = order.lone(len(self.pairs.lone), len(self.pairs), self.size, step, seed=self.seed)
        return self.pairs.lone[places]

    def _excluded(
        self,
        queries: NDArray[np.int64],
        documents: NDArray[np.int64],
        candidates: NDArray[np.int64],
    ) -> Tensor:
        """Other known answers of each query among the candidates: bool [records, candidates]."""
        column = {document: place for place, document in enumerate(candidates.tolist())}
        excluded = torch.zeros((len(queries), len(candidates)), dtype=torch.bool)
        for row, (query, own) in enumerate(zip(queries.tolist(), documents.tolist(), strict=True)):
            for other in self.answers.get(query, frozenset()):
                if other != own and other in column:
                    excluded[row, column[other]] = True
        return excluded


def _none(records: int) -> NDArray[np.int64]:
    return np.empty((records, 0), dtype=np.int64)


def _places(candidates: NDArray[np.int64], negatives: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(negatives >= 0, np.searchsorted(candidates, negatives), -1)


def _tensor(values: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)
