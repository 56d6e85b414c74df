"""A reranker's teacher behind a server, the scores it squashes, and the lists that it is asked."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_api.names import Reason, Stage
from distill_api.teacher import Endpoint, Prompts
from distill_trainer.components.reranker import label, prepare
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.labelling import candidates
from distill_trainer.labelling.candidates import Source
from distill_trainer.labelling.corpus import Corpus
from distill_trainer.preparing import lists
from distill_trainer.sources.records import Record
from distill_trainer.teachers import endpoint as endpoints
from distill_trainer.teachers.endpoint import Budget
from distill_trainer.teachers.endpoint import Server as Asked
from distill_trainer.teachers.scoring import EndpointScorer
from http_faults import Answer, Call, Server, serving
from pyarrow import parquet
from trainer import a_context, a_task, some_rows, write_jsonl


def raw(query: str, document: str) -> float:
    """Score as a cross-encoder might: words in common count 4."""
    return 4.0 * len(set(query.split()) & set(document.split())) - 5 + 0.01 * len(document)


def answering(squash: Callable[[float], float]) -> Callable[[Call], Answer]:
    """Answer as /v1/rerank does: the best first, not in the order of the documents."""

    def answer(call: Call) -> Answer:
        asked = json.loads(call.body)
        found = [
            {"index": n, "relevance_score": squash(raw(asked["query"], text))}
            for n, text in enumerate(asked["documents"])
        ]
        found.sort(key=lambda one: -one["relevance_score"])
        body = {"results": found, "usage": {"total_tokens": 10 * len(found)}}
        return Answer(200, json.dumps(body).encode())

    return answer


def sigmoid(score: float) -> float:
    return float(1 / (1 + np.exp(-score)))


@contextmanager
def a_scorer(answer: Callable[[Call], Answer], budget: Budget) -> Iterator[Any]:
    with serving(answer) as server:
        spec = Endpoint(url=f"{server.url}/v1", model="m")
        scorer = EndpointScorer(Asked(spec, "k3y", budget), Prompts(query="q "), 2)
        try:
            yield scorer, server
        finally:
            scorer.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "wait", lambda _state: 0.0)


PAIRS = [("a b", "a"), ("a b", "a b c"), ("a b", "x"), ("c", "c d"), ("c", "y")]


def test_scores_come_in_the_order_of_the_pairs():
    with a_scorer(answering(float), Budget(None)) as (scorer, server):
        scored = scorer.score(PAIRS)
    expected = [raw("q " + query, document) for query, document in PAIRS]
    np.testing.assert_allclose(scored.scores, expected, rtol=1e-6)
    assert scored.tokens == 50
    assert {call.path for call in server.calls} == {"/v1/rerank"}
    sent = [json.loads(call.body) for call in server.calls]
    assert sorted((one["query"], len(one["documents"])) for one in sent) == [
        ("q a b", 1), ("q a b", 2), ("q c", 2)
    ]  # fmt: skip


def test_the_budget_ends_the_asking():
    spent = Budget(limit=15)
    with a_scorer(answering(float), spent) as (scorer, _), pytest.raises(BadInput) as found:
        # Far more requests than may be under way at once, which the budget cannot call back.
        scorer.score(PAIRS * 20)
    assert "tokenBudget is used up" in found.value.sentence


def test_an_answer_for_some_documents_only_is_refused():
    def few(call: Call) -> Answer:
        whole = json.loads(answering(float)(call).body)
        return Answer(200, json.dumps({"results": whole["results"][:1]}).encode())

    with a_scorer(few, Budget(None)) as (scorer, _), pytest.raises(BadInput) as found:
        scorer.score(PAIRS)
    assert "1 results for 2 documents" in found.value.sentence


def a_job(folder: Path, server: Server, stage: Stage) -> Context:
    data = write_jsonl(folder / "data.jsonl", some_rows(150))
    spec: dict[str, Any] = {
        "component": "Reranker",
        "teacher": {"endpoint": {"url": f"{server.url}/v1", "model": "m"}, "batchSize": 8},
        "student": {"model": {"uri": "file:///nowhere"}},
        "recipe": {"reranker": {"marginMse": {}}},
        "data": {"source": {"uri": f"file://{data}"}},
    }
    return a_context(a_task(folder, stage, **spec), folder)


def test_squashed_scores_are_recorded_and_turned_back(tmp_path: Path):
    """T13: a server's sigmoid is undone, so that margins are those of raw scores again."""
    with serving(answering(sigmoid)) as server:
        report = label.run(a_job(tmp_path, server, Stage.LABEL))
        context = a_job(tmp_path, server, Stage.PREPARE)
        prepare.run(context)
    assert report.facts["squashed"] == "true"
    folder = context.workspace.output(Stage.PREPARE).path
    found = np.load(folder / lists.SCORES)
    assert np.nanmin(found) < -4
    card = json.loads((folder / "data_card.json").read_text())
    assert card["score_scale"] == "logit of 0 to 1"
    texts = parquet.read_table(folder / "texts.parquet")["text"].to_pylist()
    records = parquet.read_table(folder / "records.parquet").to_pylist()
    expected = [raw(texts[row["query_id"]], texts[row["document_id"]]) for row in records]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-2)


def test_scores_that_are_all_0_or_1_are_refused(tmp_path: Path):
    with (
        serving(answering(lambda score: float(score > 0))) as server,
        pytest.raises(BadInput) as found,
    ):
        label.run(a_job(tmp_path, server, Stage.LABEL))
    assert found.value.reason is Reason.BAD_MODEL
    assert "exactly 0 or 1" in found.value.sentence


def test_nan_scores_are_refused_by_name(tmp_path: Path):
    with serving(answering(lambda _: float("nan"))) as server, pytest.raises(BadInput) as found:
        label.run(a_job(tmp_path, server, Stage.LABEL))
    assert found.value.reason is Reason.BAD_MODEL
    assert "NaN or infinity" in found.value.sentence


def test_a_lost_server_loses_no_shard_that_was_paid_for(tmp_path: Path):
    calls = 0

    def failing(call: Call) -> Answer:
        nonlocal calls
        calls += 1
        return Answer(503) if calls > 100 else answering(float)(call)

    with serving(failing) as server:
        with pytest.raises(TryAgain) as found:
            label.run(a_job(tmp_path, server, Stage.LABEL))
        assert found.value.reason is Reason.TEACHER_UNREACHABLE
        first = calls
        calls = -(10**6)
        report = label.run(a_job(tmp_path, server, Stage.LABEL))
        again = calls + 10**6
    assert first > 100
    assert again < 150 * 2
    assert report.facts["pairs"] == str(150 * 16)
    assert report.usage.teacher_tokens == 150 * 16 * 10


def corpus(*rows: Record) -> Corpus:
    made = Corpus()
    for row in rows:
        made.add(row)
    return made


def test_a_list_holds_known_given_near_and_random_documents():
    far = [Record(f"z{n} y{n}") for n in range(30)]
    near = [Record(f"apple pie {n}") for n in range(30)]
    own = Record("a dessert", "apple pie", negatives=("pears",))
    entries = candidates.choose(corpus(own, *far, *near), 8)
    assert [entry.source for entry in entries] == [
        Source.KNOWN, Source.GIVEN, *[Source.LEXICAL] * 4, *[Source.RANDOM] * 2
    ]  # fmt: skip
    documents = ["a dessert", "pears", *(row.document for row in far + near)]
    assert all("apple" in documents[entry.document] for entry in entries[2:6])
    assert entries == candidates.choose(corpus(own, *far, *near), 8)


def test_a_document_that_only_differs_in_case_is_no_negative():
    rows = [
        Record("Apple pie", "apple"),
        Record("APPLE  PIE", "other"),
        Record("pear tart", "pear"),
    ]
    entries = candidates.choose(corpus(*rows), 8)
    texts = ["Apple pie", "APPLE  PIE", "pear tart"]
    assert [texts[entry.document] for entry in entries if entry.query == 0] == [
        "Apple pie", "pear tart"
    ]  # fmt: skip


def test_texts_without_words_still_give_lists():
    rows = [Record("?" * (n + 1), f"!{n}") for n in range(6)]
    entries = candidates.choose(corpus(*rows), 4)
    assert len([entry for entry in entries if entry.query == 0]) == 4
