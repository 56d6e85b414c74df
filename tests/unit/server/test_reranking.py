"""A reranker behind real HTTP, on every path that clients know."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from servers import Running, Start

QUERY = "a1 b2"
DOCUMENTS = ["a1 b2 c3", "d4", "e5 f6 g7", "b2 b2"]


@pytest.fixture(scope="module")
def url(start: Start, reranker: Path) -> str:
    made: Running = start(reranker, arm="teacher")
    return made.url


@pytest.fixture(scope="module")
def expected(reranker: Path) -> np.ndarray:
    oracle = CrossEncoder(str(reranker), device="cpu")
    return oracle.predict([(QUERY, text) for text in DOCUMENTS])


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_come_back_best_first(url: str, expected: np.ndarray, path: str):
    body = {"model": "tiny", "query": QUERY, "documents": DOCUMENTS}
    found = httpx.post(url + path, json=body).json()
    order = [one["index"] for one in found["results"]]
    scores = [one["relevance_score"] for one in found["results"]]
    assert order == np.argsort(-expected).tolist()
    assert np.abs(np.array(scores) - expected[order]).max() < 1e-5
    assert all("document" not in one for one in found["results"])
    assert found["usage"]["total_tokens"] > len(DOCUMENTS)


def test_only_the_best_with_their_texts(url: str, expected: np.ndarray):
    wrapped = [{"text": text} for text in DOCUMENTS]
    body = {"query": QUERY, "documents": wrapped, "top_n": 2, "return_documents": True}
    results = httpx.post(f"{url}/rerank", json=body).json()["results"]
    best = np.argsort(-expected)[:2].tolist()
    assert [one["index"] for one in results] == best
    assert [one["document"]["text"] for one in results] == [DOCUMENTS[i] for i in best]


def test_open_inference_protocol_scores(url: str, expected: np.ndarray):
    query = {"name": "query", "shape": [1], "datatype": "BYTES", "data": [QUERY]}
    documents = {"name": "documents", "shape": [4], "datatype": "BYTES", "data": DOCUMENTS}
    body = {"inputs": [query, documents]}
    (output,) = httpx.post(f"{url}/v2/models/tiny/infer", json=body).json()["outputs"]
    assert (output["name"], output["shape"]) == ("score", [4, 1])
    assert np.abs(np.array(output["data"]) - expected).max() < 1e-5
    short = {"inputs": [query, documents | {"shape": [3]}]}
    error = httpx.post(f"{url}/v2/models/tiny/infer", json=short).json()["error"]
    assert "shape [3] and 4 elements" in error


def test_what_a_reranker_cannot_do_is_said(url: str):
    vectors = httpx.post(f"{url}/v1/embeddings", json={"input": "a1"})
    empty = httpx.post(f"{url}/rerank", json={"query": "a1", "documents": []})
    assert (vectors.status_code, empty.status_code) == (400, 400)
    assert "use /v1/rerank" in vectors.json()["error"]["message"]
    assert "the field documents is wrong" in empty.json()["error"]["message"]
