"""Trained or half-trained rerankers as scorers of pairs, as they will be served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from distill_api.student import StudentArchitecture
from distill_api.teacher import Prompts
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder

from distill_trainer.losses.reduction import unit
from distill_trainer.students.rankers import Ranker
from distill_trainer.teachers import Tell
from distill_trainer.teachers.local import LocalTeacher
from distill_trainer.teachers.reading import Reader
from distill_trainer.teachers.scoring import LocalScorer, Pair, Scored, Scorer


def scorer(student: Ranker, prompts: Prompts, batch_size: int) -> Scorer:
    """Return what scores pairs with a student, in the mode that it is in.

    Scores are cosines, sums of the best cosines of tokens (MaxSim), or raw logits.
    """
    if isinstance(student, CrossEncoder):
        return LocalScorer(student, Prompts(), batch_size)
    if isinstance(student, MultiVectorEncoder):
        return LateScorer(student, prompts, batch_size)
    return BiScorer(LocalTeacher(student, batch_size), prompts)


def by_kind(model: Any, kind: StudentArchitecture, prompts: Prompts, batch_size: int) -> Scorer:
    """Return what scores pairs with a model, or with what stands in its place (InOnnx)."""
    if kind is StudentArchitecture.CROSS_ENCODER:
        return LocalScorer(model, Prompts(), batch_size)
    if kind is StudentArchitecture.LATE_INTERACTION:
        return LateScorer(model, prompts, batch_size)
    return BiScorer(LocalTeacher(model, batch_size), prompts)


@dataclass(frozen=True, slots=True)
class BiScorer:
    """Cosine of two embeddings; each different text is embedded once."""

    model: LocalTeacher
    prompts: Prompts

    def score(self, pairs: Sequence[Pair], tell: Tell | None = None) -> Scored:
        """Score pairs: float32 [pairs]."""
        queries, of_query = _distinct([query for query, _ in pairs])
        documents, of_document = _distinct([document for _, document in pairs])
        left = self.model.embed(queries, prompt=self.prompts.query)
        right = self.model.embed(documents, prompt=self.prompts.document)
        cosines = (_unit(left.vectors)[of_query] * _unit(right.vectors)[of_document]).sum(axis=1)
        tokens = left.tokens + right.tokens
        if tell is not None:
            tell(len(pairs), tokens)
        return Scored(cosines, tokens)

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, slots=True)
class LateScorer:
    """MaxSim of token embeddings; each different text is embedded once."""

    model: Any
    prompts: Prompts
    batch_size: int

    def score(self, pairs: Sequence[Pair], tell: Tell | None = None) -> Scored:
        """Score pairs: float32 [pairs]."""
        queries, of_query = _distinct([query for query, _ in pairs])
        documents, of_document = _distinct([document for _, document in pairs])
        left, first = self._embed(queries, self.prompts.query)
        right, second = self._embed(documents, self.prompts.document)
        scores = np.empty(len(pairs), dtype=np.float32)
        for row, (query, document) in enumerate(zip(of_query, of_document, strict=True)):
            cosines = left[int(query)] @ right[int(document)].T
            scores[row] = float(cosines.amax(dim=1).sum())
        if tell is not None:
            tell(len(pairs), first + second)
        return Scored(scores, first + second)

    def _embed(self, texts: list[str], prompt: str) -> tuple[list[torch.Tensor], int]:
        """Return unit token embeddings of each text [tokens, width], and the tokens read."""
        found: dict[int, torch.Tensor] = {}
        tokens = 0
        given = [prompt + text for text in texts]
        for batch, features in Reader(self.model).batches(given, self.batch_size):
            with torch.inference_mode():
                made = self.model(features)
            masks = made["attention_mask"].bool()
            for place, rows, mask in zip(batch, made["token_embeddings"], masks, strict=True):
                found[place] = unit(rows[mask])
            tokens += int(features["attention_mask"].sum())
        return [found[place] for place in range(len(texts))], tokens

    def close(self) -> None:
        """Nothing to let go of."""


def _distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Different texts in order of appearance, and where each text is among them."""
    known: dict[str, int] = {}
    places = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64)
    return list(known), places


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)
