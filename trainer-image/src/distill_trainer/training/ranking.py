"""What a reranker student is trained with: texts or pairs in, scores of lists out, by architecture.

A BiEncoder's score is a cosine, a LateInteraction's the MaxSim of its tokens, both times a scale
that is learnt beside the student: cosines lie between -1 and 1 and could never match the margins of
raw logits. A CrossEncoder gives raw scores itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from distill_trainer.losses import ranking, reranking
from distill_trainer.losses.reduction import wide
from distill_trainer.losses.rows import Rows
from distill_trainer.training.encode import Encoder, Ids
from distill_trainer.training.tokens import Tokens


class Scale(nn.Module):
    """A positive factor, learnt by its logarithm."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros((), device=device))

    def forward(self, scores: Tensor) -> Tensor:
        """Multiply scores."""
        return scores * self.log.exp()

    @torch.no_grad()
    def fit(self, student: Tensor, teacher: Tensor) -> None:
        """Start where the student's margins spread as widely as the teacher's; [margins] each."""
        ratio = teacher.double().std() / student.double().std().clamp(min=1e-12)
        self.log.copy_(ratio.clamp(1e-2, 1e3).log())


@dataclass(frozen=True)
class LateEncoder(Encoder):
    """Token embeddings of texts; the last channel says which tokens are compared."""

    longest: int = 0
    """Tokens to which every text of a step is filled up."""

    def of(self, texts: Ids) -> "LateEncoder":
        """Return the encoder for some texts."""
        return replace(self, longest=int(self.tokens.lengths[texts].max()))

    def forward(self, texts: Ids) -> Tensor:
        """Embed a few texts in one pass: float32 [texts, longest, width + 1]."""
        features = self.tokens.padded(texts, self.device)

        def forward(student: nn.Module) -> Tensor:
            found = student(features)
            mask = found["attention_mask"].float().unsqueeze(-1)
            return torch.cat([wide(found["token_embeddings"]), mask], dim=-1)

        joined = self.run(forward)
        return pad(joined, (0, 0, 0, self.longest - joined.shape[1]))


@dataclass(frozen=True)
class PairTokens(Tokens):
    """Token ids of query and document together, and to which of the two each belongs."""

    types: NDArray[np.int32] | None = None
    """[tokens]; None where the model does not ask."""

    def padded(self, texts: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """Return input_ids, attention_mask and maybe token_type_ids, int64 [pairs, longest]."""
        features = super().padded(texts, device)
        if self.types is None:
            return features
        kinds = np.zeros(features["input_ids"].shape, dtype=np.int64)
        for row, text in enumerate(texts):
            own = self.types[self.starts[text] : self.starts[text + 1]]
            kinds[row, : len(own)] = own
        return features | {"token_type_ids": torch.from_numpy(kinds).to(device)}


@dataclass(frozen=True)
class PairEncoder(Encoder):
    """Raw scores of pairs; its tokens are those of one step's pairs."""

    def of(self, pairs: Sequence[tuple[str, str]]) -> "PairEncoder":
        """Return the encoder for some pairs, which are numbered from 0."""
        return replace(self, tokens=tokenise(self.student, pairs))

    def forward(self, texts: Ids) -> Tensor:
        """Score a few pairs in one pass: float32 [pairs, 1]."""
        features = self.tokens.padded(texts, self.device)
        return self.run(lambda student: wide(student(features)["scores"]).reshape(-1, 1))


def tokenise(student: nn.Module, pairs: Sequence[tuple[str, str]]) -> PairTokens:
    """Tokenise pairs as the student will when it is served."""
    features = student.preprocess([list(pair) for pair in pairs])  # type: ignore[operator]
    mask = features["attention_mask"].bool()
    rows = [ids[kept].numpy() for ids, kept in zip(features["input_ids"], mask, strict=True)]
    types = None
    if "token_type_ids" in features:
        kinds = zip(features["token_type_ids"], mask, strict=True)
        types = np.concatenate([own[kept].numpy() for own, kept in kinds]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    pad_id = int(student.tokenizer.pad_token_id or 0)  # type: ignore[union-attr, arg-type]
    return PairTokens(np.concatenate(rows).astype(np.int32), starts, pad_id, types)


def of_lists(embeddings: Tensor, rows: Rows) -> Tensor:
    """Score each record's list, own document first; [records, 1 + negatives].

    embeddings: of a step's texts, [texts, width], or with tokens [texts, tokens, width + 1].
    What is padding in the list is scored like the first candidate and must be masked.
    """
    chosen = torch.cat([rows.positive.unsqueeze(1), rows.negatives.clamp(min=0)], dim=1)
    queries, documents = embeddings[rows.query], embeddings[rows.candidates[chosen]]
    if embeddings.dim() == 2:
        return ranking.scores(queries, documents)
    return _late(queries, documents)


def against_all(embeddings: Tensor, rows: Rows) -> Tensor:
    """Mean MaxSim of every record's query with every candidate; [records, candidates].

    The mean over a query's tokens, so that a temperature means what it does for cosines.
    """
    queries, documents = embeddings[rows.query], embeddings[rows.candidates]
    # One query at a time: all comparisons at once would be records x candidates x tokens².
    scores = torch.cat([_late(query.unsqueeze(0), documents.unsqueeze(0)) for query in queries])
    return scores / queries[..., -1].sum(dim=1, keepdim=True)


def _late(queries: Tensor, documents: Tensor) -> Tensor:
    seen, read = queries[..., -1] > 0, documents[..., -1] > 0
    return reranking.max_sim(queries[..., :-1], documents[..., :-1], seen, read)
