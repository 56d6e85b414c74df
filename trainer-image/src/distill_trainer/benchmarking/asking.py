"""Requests as clients of the server send them."""

import json
from collections.abc import Sequence
from typing import Any

from distill_trainer.benchmarking.load import Request
from distill_trainer.benchmarking.server import NAME


def embedding(texts: Sequence[str], *, input_type: str | None = None) -> Request:
    """Ask for the embeddings of some texts at once.

    input_type: `query` or `document`, for the server to put the model's own prompt before them.
    """
    kind = {} if input_type is None else {"input_type": input_type}
    return _request("/v1/embeddings", {"input": list(texts), **kind})


def reranking(query: str, documents: Sequence[str]) -> Request:
    """Ask for the order of documents."""
    return _request("/v1/rerank", {"query": query, "documents": list(documents)})


def _request(path: str, content: dict[str, Any]) -> Request:
    return Request(path, json.dumps({"model": NAME, **content}, ensure_ascii=False).encode())
