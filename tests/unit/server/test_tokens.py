"""Tokens over HTTP: what goes into the model, in vLLM's words, and the file of its training."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
from distill_api.token_ids import TOKEN_IDS_FILE
from sentence_transformers import CrossEncoder, SentenceTransformer
from servers import Running, Start

LONG = "a1 b2 c3 " * 40


@pytest.fixture(scope="module")
def oracle(student: Path) -> SentenceTransformer:
    return SentenceTransformer(str(student), device="cpu")


@pytest.fixture(scope="module")
def pairs(start: Start, reranker: Path) -> Running:
    return start(reranker)


def asked(server: Running, **body: object) -> httpx.Response:
    return httpx.post(f"{server.url}/tokenize", json=body)


def test_the_answer_has_vllms_form(server: Running):
    found = asked(server, model="tiny", prompt="a1 b2").json()
    assert found == {"count": 4, "max_model_len": 32, "tokens": [2, 6, 19, 3]}


def test_a_text_is_prompted_as_its_kind_is(server: Running, oracle: SentenceTransformer):
    query = asked(server, prompt="c3", input_type="query").json()["tokens"]
    document = asked(server, prompt="c3", input_type="document").json()["tokens"]
    named = asked(server, prompt="c3", prompt_name="query").json()["tokens"]
    expected = oracle.preprocess(["c3"], prompt=oracle.prompts["query"])["input_ids"][0].tolist()
    assert query == named == expected
    assert len(query) == len(document) + 2


def test_a_long_text_is_cut_where_the_model_cuts_it(server: Running):
    found = asked(server, prompt=LONG).json()
    assert found["count"] == found["max_model_len"] == 32
    assert found["tokens"][-1] == 3, "the end is marked"


def test_a_reranker_tells_the_tokens_of_pairs(pairs: Running, reranker: Path):
    found = asked(pairs, query="a1 b2", prompt="c3").json()["tokens"]
    oracle = CrossEncoder(str(reranker), device="cpu")
    assert found == oracle.preprocess([("a1 b2", "c3")])["input_ids"][0].tolist()


def test_what_cannot_be_told_is_refused_with_what_to_do(server: Running, pairs: Running):
    for running, body, part in [
        (server, {"prompt": "a1", "query": "b2"}, "leave query out"),
        (pairs, {"prompt": "a1"}, "give the query as well"),
        (server, {"messages": []}, "the field prompt is wrong"),
        (server, {"prompt": "a1", "add_special_tokens": False}, "add_special_tokens"),
    ]:
        answer = asked(running, **body)
        assert answer.status_code == 400, body
        assert part in answer.json()["error"]["message"]
    assert asked(server, model="other", prompt="a1").status_code == 404


def test_the_file_of_the_training_is_handed_over_as_it_is(
    start: Start, student: Path, tmp_path: Path
):
    folder = tmp_path / "student"
    shutil.copytree(student, folder)
    content = json.dumps({"samples": ["ö"]}, indent=1).encode()
    (folder / TOKEN_IDS_FILE).write_bytes(content)
    answer = httpx.get(f"{start(folder).url}/v1/token-ids")
    assert answer.content == content


def test_a_model_without_the_file_says_so(server: Running):
    answer = httpx.get(f"{server.url}/v1/token-ids")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_token_ids"


def test_tokens_are_no_requests_of_users(server: Running):
    before = httpx.get(f"{server.url}/metrics").text
    asked(server, prompt="a1")
    after = httpx.get(f"{server.url}/metrics").text
    counted = [line for line in after.splitlines() if "requests_total{" in line]
    assert counted
    assert counted == [line for line in before.splitlines() if "requests_total{" in line]
