"""Tokens of training beside the student: the folder, loaded as a server loads it, has the same."""

import hashlib
from pathlib import Path

import pytest
import tiny_models
import tiny_rankers
from distill_api.teacher import Prompts
from distill_api.token_ids import TOKEN_IDS_FILE, TextKind, TokenIds
from distill_server.models import loading
from distill_server.models.tokenizing import Tokenizer
from distill_trainer.students import make, token_ids
from distill_trainer.students.rankers import Ranker

PROMPTS = Prompts(query="a0 a1 ", document="b1 ")


def saved(student: Ranker, folder: Path, prompts: Prompts = PROMPTS) -> TokenIds:
    make.save(student, folder)
    token_ids.write(student, prompts, folder)
    return TokenIds.model_validate_json((folder / TOKEN_IDS_FILE).read_text())


def served(folder: Path, found: TokenIds, prompts: Prompts) -> list[list[int]]:
    """Return what our server would compute with."""
    tokenizer = Tokenizer(loading.load(folder))
    before = {TextKind.QUERY: prompts.query, TextKind.DOCUMENT: prompts.document}
    rows = []
    for sample in found.samples:
        text = sample.text if sample.query is None else (sample.query, sample.text)
        (tokens,) = tokenizer.encode([text], before.get(sample.kind))
        rows.append(tokens.rows["input_ids"].tolist())
    return rows


@pytest.fixture(params=["embedding", "pairs"])
def student(request: pytest.FixtureRequest) -> Ranker:
    return tiny_models.teacher() if request.param == "embedding" else tiny_rankers.teacher()


def test_a_loaded_student_reads_what_it_read_in_training(student: Ranker, tmp_path: Path):
    found = saved(student, tmp_path)
    assert served(tmp_path, found, PROMPTS) == [sample.tokens for sample in found.samples]
    assert len(found.samples) >= 10


def test_a_long_text_is_cut_and_a_prompt_is_part_of_it(tmp_path: Path):
    found = saved(tiny_models.teacher(), tmp_path)
    by_name = {(one.kind, one.name): one.tokens for one in found.samples}
    long = by_name[TextKind.QUERY, "beyond the limit"]
    assert len(long) == found.max_length == 32
    assert long[1:3] == by_name[TextKind.QUERY, "short"][1:3], "the prompt stands before both"
    query, document = (by_name[kind, "short"] for kind in (TextKind.QUERY, TextKind.DOCUMENT))
    assert len(query) == len(document) + 1


def test_another_limit_or_another_template_shows(tmp_path: Path):
    found = saved(tiny_models.teacher(), tmp_path)
    spoilt = tiny_models.teacher()
    spoilt.max_seq_length = 16
    make.save(spoilt, tmp_path)
    different = [
        sample.name
        for sample, row in zip(found.samples, served(tmp_path, found, PROMPTS), strict=True)
        if row != sample.tokens
    ]
    assert "beyond the limit" in different
    assert served(tmp_path, found, Prompts())[0] != found.samples[0].tokens


def test_a_query_of_a_pair_is_cut_as_well(tmp_path: Path):
    found = saved(tiny_rankers.teacher(), tmp_path)
    assert {sample.kind for sample in found.samples} == {TextKind.PAIR}
    longest = max(len(sample.tokens) for sample in found.samples)
    assert longest == found.max_length
    assert found.samples[-1].query is not None
    assert len(found.samples[-1].query) > 100


def test_the_same_student_writes_the_same_bytes(tmp_path: Path):
    digests = set()
    for name in ("one", "two"):
        saved(tiny_models.teacher(), tmp_path / name)
        content = (tmp_path / name / TOKEN_IDS_FILE).read_bytes()
        digests.add(hashlib.sha256(content).hexdigest())
    assert len(digests) == 1
