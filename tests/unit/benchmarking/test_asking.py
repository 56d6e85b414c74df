"""Requests of a load: what users send to the server, the same texts for student and teacher."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_api.names import Stage
from distill_api.outcome import Benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components.embedding import evaluate as embedding
from distill_trainer.components.generator import evaluate as generator
from distill_trainer.components.querytransform import evaluate as transform
from distill_trainer.components.reranker import evaluate as reranker
from distill_trainer.context import Context
from distill_trainer.measures.answering import Asked
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.quality import Bench
from distill_trainer.teachers.answers import Ask
from distill_trainer.texts.conversation import chat
from distill_trainer.texts.querying import Query
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


def told(request: Request) -> tuple[str, dict[str, Any]]:
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


VLLM = {"requestsPerSecond": 10, "requests": 20, "vllm": {"image": "v", "maxTokens": 5}}


def a_writers_context(folder: Path, component: str, recipe: dict[str, Any]) -> Context:
    teacher = {"model": {"uri": "file:///nowhere"}, "sampling": {"systemPrompt": "Be brief."}}
    task = a_task(
        folder,
        Stage.EVALUATE,
        component=component,
        recipe=recipe,
        teacher=teacher,
        student={"fromTeacher": {"keepLayers": [0]}},
        evaluation={"benchmark": VLLM},
    )
    return a_context(task, folder)


def test_a_generators_users_ask_as_in_training_and_never_meet_a_cached_prompt(tmp_path: Path):
    context = a_writers_context(tmp_path, "Generator", {"generator": {"outputs": {}}})
    questions = [Asked(f"why {n}?", "because", "so", from_data=True) for n in range(8)]
    asked = context.task.spec.evaluation.benchmark
    assert asked is not None
    found = generator._asking(context, questions)(asked)
    assert found.student == found.teacher
    assert len(found.student) == 4 * 8, "20 requests, and one round more to begin with"
    assert all(one.streams for one in found.student)
    path, first = told(found.student[0])
    assert path == "/v1/chat/completions"
    assert {name: first[name] for name in ("model", "max_tokens", "temperature", "stream")} == {
        "model": "model", "max_tokens": 5, "temperature": 0, "stream": True,
    }  # fmt: skip
    assert first["stream_options"] == {"include_usage": True}
    sampling = context.task.spec.teacher.sampling
    assert first["messages"] == chat("why 0?", "because", sampling)
    prompts = [
        json.dumps([one["messages"], one["cache_salt"]]) for _, one in map(told, found.student)
    ]
    assert len(set(prompts)) == len(prompts)
    assert told(found.student[7])[1]["cache_salt"] == first["cache_salt"], (
        "others may share a start"
    )


def test_a_query_transforms_users_ask_each_model_as_it_is_asked(tmp_path: Path):
    context = a_writers_context(
        tmp_path, "QueryTransform", {"queryTransform": {"outputs": {}, "task": "Rewrite"}}
    )
    asked = context.task.spec.evaluation.benchmark
    assert asked is not None
    asks = Pair(*(lambda query, who=who: Ask((("user", f"{who} {query.text}"),)) for who in "st"))
    found = transform._asking(context, [Query("why?")], asks)(asked)
    messages = [told(one[0])[1]["messages"] for one in (found.student, found.teacher)]
    assert messages == [[{"role": "user", "content": f"{who} why?"}] for who in "st"]
    assert len(found.student) == 21


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
