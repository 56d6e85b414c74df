"""Requests as clients of the server send them."""

import json
from collections.abc import Sequence
from typing import Any

from distill_api.wire import Task

from distill_trainer.benchmarking.load import Request
from distill_trainer.benchmarking.serving import NAME
from distill_trainer.teachers.answers import Ask


def embedding(texts: Sequence[str], *, input_type: str | None = None) -> Request:
    """Ask for the embeddings of some texts at once.

    input_type: `query` or `document`, for the server to put the model's own prompt before them.
    """
    kind = {} if input_type is None else {"input_type": input_type}
    return _request("/v1/embeddings", {"input": list(texts), **kind})


def reranking(query: str, documents: Sequence[str]) -> Request:
    """Ask for the order of documents."""
    return _request("/v1/rerank", {"query": query, "documents": list(documents)})


def answers(task: Task, asked: Sequence[Ask]) -> list[Request]:
    """Ask for answers to conversations, token by token and without chance, often enough.

    Every time round the prompts count as others (`cache_salt` of vLLM): what it keeps of a prompt
    serves those that begin alike, as it does with users, and never the same one again.
    """
    benchmark = task.spec.evaluation.benchmark
    assert benchmark is not None, "only asked where there is one"
    assert benchmark.vllm is not None, "the contract ties it to what writes"
    common = {
        "max_tokens": benchmark.vllm.max_tokens or task.spec.teacher.sampling.max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    rounds = -(-benchmark.requests // len(asked)) + 1  # one more, to begin with
    return [
        _request(
            "/v1/chat/completions",
            {"messages": one.chat, **common, "cache_salt": f"round {number}"},
            streams=True,
        )
        for number in range(rounds)
        for one in asked
    ]


def _request(path: str, content: dict[str, Any], *, streams: bool = False) -> Request:
    body = json.dumps({"model": NAME, **content}, ensure_ascii=False).encode()
    return Request(path, body, streams)
