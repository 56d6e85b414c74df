"""A teacher that scores how well documents answer a query: weights that run here, or a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from distill_api.names import Reason
from distill_api.sources import ModelSource
from distill_api.teacher import Endpoint, EndpointProtocol, Prompts
from numpy.typing import NDArray

from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.teachers import Tell, encoders, opening
from distill_trainer.teachers.endpoint import Budget, Server, usage
from distill_trainer.teachers.reading import Reader


@dataclass(frozen=True, slots=True)
class Scored:
    """What a teacher thinks of some pairs."""

    scores: NDArray[np.float32]
    """[pairs]: raw logits of local weights; of a server what it answers."""
    tokens: int
    """Tokens that the teacher read."""


type Pair = tuple[str, str]
"""A query and a document."""


class Scorer(Protocol):
    """Scores pairs. The same pairs in the same call give the same numbers."""

    def score(self, pairs: Sequence[Pair], tell: Tell | None = None) -> Scored:
        """Return the scores of pairs, in their order; tell is told pairs and tokens."""
        ...

    def close(self) -> None:
        """Let go of connections and memory."""
        ...


class LocalScorer:
    """A CrossEncoder in evaluation mode, without gradients, in float32."""

    def __init__(self, model: Any, prompts: Prompts, batch_size: int) -> None:
        self.model = model
        self._prompts = prompts
        self._batch_size = batch_size
        self._reader = Reader(model, pairs=True)

    def score(self, pairs: Sequence[Pair], tell: Tell | None = None) -> Scored:
        """Score pairs in batches of similar length, longest first; raw logits, never squashed.

        A sigmoid would press large margins together until nothing is left to learn from them.
        """
        before = self._prompts
        given = [(before.query + query, before.document + text) for query, text in pairs]
        scores = np.empty(len(pairs), dtype=np.float32)
        tokens = 0
        for batch, features in self._reader.batches(given, self._batch_size):
            scores[batch] = self._forward(features)
            count = int(features["attention_mask"].sum())
            tokens += count
            if tell is not None:
                tell(len(batch), count)
        return Scored(scores, tokens)

    def _forward(self, features: dict[str, Any]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(features)["scores"].float().reshape(-1).cpu().numpy()

    def close(self) -> None:
        """Nothing to let go of: the process ends soon."""


class EndpointScorer:
    """Asks `/rerank` in the form that vLLM, Jina and Cohere share, one query a request."""

    def __init__(self, server: Server, prompts: Prompts, batch_size: int) -> None:
        self._server = server
        self._prompts = prompts
        self._batch_size = batch_size

    def score(self, pairs: Sequence[Pair], tell: Tell | None = None) -> Scored:
        """Score pairs; raises TryAgain or BadInput as the server's answers mean."""
        asked = self._requests(pairs)
        scores: list[NDArray[np.float32]] = []
        tokens = 0
        answers = self._server.pool.map(lambda request: self._ask(*request), asked)
        for (_, documents), (found, used) in zip(asked, answers, strict=True):
            scores.append(found)
            tokens += used
            if tell is not None:
                tell(len(documents), used)
        return Scored(np.concatenate(scores), tokens)

    def close(self) -> None:
        """Close connections."""
        self._server.close()

    def _requests(self, pairs: Sequence[Pair]) -> list[tuple[str, list[str]]]:
        requests: list[tuple[str, list[str]]] = []
        for query, group in groupby(pairs, key=lambda pair: pair[0]):
            documents = [self._prompts.document + document for _, document in group]
            requests += [
                (self._prompts.query + query, documents[start : start + self._batch_size])
                for start in range(0, len(documents), self._batch_size)
            ]
        return requests

    def _ask(self, query: str, documents: list[str]) -> tuple[NDArray[np.float32], int]:
        body = {
            "model": self._server.endpoint.model,
            "query": query,
            "documents": documents,
            "top_n": len(documents),
        }
        return self._server.ask("rerank", body, lambda answer: _parse(answer, len(documents)))


def _parse(answer: Any, count: int) -> tuple[NDArray[np.float32], int]:
    scores = np.full(count, np.nan, dtype=np.float32)
    for result in answer["results"]:
        scores[int(result["index"])] = float(result["relevance_score"])
    if len(answer["results"]) != count:
        raise ValueError(f"{len(answer['results'])} results for {count} documents")
    return scores, usage(answer)


def open_scorer(context: Context, folder: Path | None = None, *, spent: int = 0) -> Scorer:
    """Open the task's teacher.

    folder: its weights, where they are fetched already. spent: tokens of earlier attempts.
    """
    teacher = context.task.spec.teacher
    if teacher.endpoint is not None:
        server = _server(context, teacher.endpoint, spent)
        if teacher.endpoint.protocol is EndpointProtocol.TRITON:
            from distill_trainer.teachers.open_inference import OpenInferenceScorer

            return OpenInferenceScorer(server, teacher.prompts, teacher.batch_size)
        return EndpointScorer(server, teacher.prompts, teacher.batch_size)
    assert teacher.model is not None
    place, gpus = folder or opening.weights(context), context.task.gpus
    model = load(place, teacher.model, teacher.max_length, gpus=gpus)
    return LocalScorer(model, teacher.prompts, teacher.batch_size)


def _server(context: Context, endpoint: Endpoint, spent: int) -> Server:
    budget = Budget(endpoint.token_budget, spent)
    return Server(endpoint, context.secrets.key(endpoint), budget)


def load(folder: Path, source: ModelSource, max_length: int | None, *, gpus: int) -> Any:
    """Load a cross-encoder in float32; BadInput where it is none or has more than one label.

    gpus: accelerators that the pod was given.
    """
    from sentence_transformers import CrossEncoder

    _refuse_embedding_models(folder, source)
    model = encoders.load(CrossEncoder, folder, source, max_length, gpus=gpus)
    if model.num_labels != 1:
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher {source.uri} has {model.num_labels} labels, and a reranker has exactly"
            " one, its score: use a model that was trained to rank",
        )
    return model


def _refuse_embedding_models(folder: Path, source: ModelSource) -> None:
    """Refuse what has no classifier: its score would come from random weights."""
    import json

    config = folder / "config.json"
    told = json.loads(config.read_text()) if config.is_file() else {}
    names = told.get("architectures") or []
    if names and not any(str(name).endswith("ForSequenceClassification") for name in names):
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher {source.uri} is a {names[0]}, and a reranker's teacher has to be a"
            " cross-encoder (…ForSequenceClassification with one label): a missing classifier"
            " would be made up at random",
        )
