"""Requests of a load: what users send to the server, the same texts for student and teacher."""

import json
from pathlib import Path

import numpy as np
import pytest
from distill_api.names import Stage
from distill_api.outcome import Benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components.embedding import evaluate as embedding
from distill_trainer.components.reranker import evaluate as reranker
from distill_trainer.measures.quality import Bench
from distill_trainer.training.listed import Listed
from trainer import a_context, a_task

ASKED = Benchmark(requests_per_second=10, documents_per_request=2)
LISTS = Listed(
    queries=np.array([0]),
    documents=[np.array([1, 2, 3])],
    answers=[1],
    scores=[np.zeros(3, dtype=np.float32)],
    texts=["why?", "for", "no", "reason"],
)


def told(request: Request) -> tuple[str, dict[str, object]]:
    return request.path, json.loads(request.body)


def test_an_embedding_models_users_ask_one_query_at_a_time(tmp_path: Path):
    prompts = {"query": "ask: ", "document": ""}
    model = {"model": {"uri": "file:///nowhere"}, "prompts": prompts}
    context = a_context(a_task(tmp_path, Stage.EVALUATE, teacher=model), tmp_path)
    bench = Bench(np.array([0]), np.array([1]), {0: frozenset({0})}, ["why?", "for"])
    found = embedding._asking(context, bench)(ASKED)
    kind = {"model": "model", "input": ["why?"], "input_type": "query"}
    assert [told(one) for one in found.student] == [("/v1/embeddings", kind)]
    prompted = {"model": "model", "input": ["ask: why?"]}
    assert [told(one) for one in found.teacher] == [("/v1/embeddings", prompted)]


@pytest.mark.parametrize("architecture", ["CrossEncoder", "BiEncoder"])
def test_a_rerankers_users_ask_for_the_order_of_some_documents(tmp_path: Path, architecture: str):
    task = a_task(
        tmp_path,
        Stage.EVALUATE,
        component="Reranker",
        recipe={"reranker": {"listwiseKl": {}}},
        student={"fromTeacher": {"keepLayers": [0]}, "architecture": architecture},
    )
    found = reranker._asking(a_context(task, tmp_path), LISTS)(ASKED)
    order = {"model": "model", "query": "why?", "documents": ["for", "no"]}
    assert [told(one) for one in found.teacher] == [("/v1/rerank", order)]
    if architecture == "CrossEncoder":
        assert found.student == found.teacher
        return
    texts = {"model": "model", "input": ["why?", "for", "no"], "input_type": "document"}
    assert [told(one) for one in found.student] == [("/v1/embeddings", texts)]
