"""Shards hold every text once and are made by several jobs together."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from distill_trainer.labelling import claims, searching, shards
from distill_trainer.labelling.claims import Claims
from distill_trainer.labelling.corpus import Corpus, collect
from distill_trainer.labelling.shards import Shard
from distill_trainer.sources.records import Record, Search
from distill_trainer.storage import Folder
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 99))
def test_every_text_is_in_exactly_one_shard_of_its_kind(queries: int, documents: int, size: int):
    plan = shards.plan(queries, documents, size)
    covered = [index for shard in plan for index in range(shard.start, shard.stop)]
    assert covered == list(range(queries + documents))
    assert all((shard.kind == "query") == (shard.stop <= queries) for shard in plan)
    assert all(0 < shard.stop - shard.start <= size for shard in plan)


def test_a_shard_is_read_as_it_was_written(tmp_path: Path):
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "s").write_bytes(shards.encode(vectors, 17))
    read, tokens = shards.load(tmp_path / "s")
    assert tokens == 17
    np.testing.assert_array_equal(read, vectors)


def test_half_a_shard_is_not_whole(tmp_path: Path):
    content = shards.encode(np.ones((4, 8), np.float32), 1)
    shard = Shard(0, 0, 4, "query")
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty").write_bytes(b"")
    assert shards.is_whole(tmp_path / "whole", shard)
    assert not shards.is_whole(tmp_path / "whole", Shard(0, 0, 5, "query"))
    assert not any(shards.is_whole(tmp_path / name, shard) for name in ("half", "empty", "absent"))


def test_a_claim_holds_off_other_jobs_until_it_is_old(tmp_path: Path):
    folder, shard = Folder(f"file://{tmp_path}", tmp_path), Shard(0, 0, 4, "query")
    now = time.time()
    assert Claims(folder, "one").take(shard, now)
    assert not Claims(folder, "two").take(shard, now)
    assert Claims(folder, "one").take(shard, now), "the next attempt of the same job goes on"
    assert Claims(folder, "two").take(shard, now + claims.CLAIM_SECONDS + 1)


def test_a_released_claim_is_free(tmp_path: Path):
    folder, shard = Folder(f"file://{tmp_path}", tmp_path), Shard(0, 0, 4, "query")
    Claims(folder, "one").take(shard, time.time())
    Claims(folder, "one").release(shard)
    assert Claims(folder, "two").take(shard, time.time())


def whole(folder: Folder) -> Callable[[Shard], bool]:
    return lambda shard: shards.is_whole(folder.path / shard.name, shard)


def test_two_jobs_share_the_work_and_both_see_all_of_it(tmp_path: Path):
    folder = Folder(f"file://{tmp_path}", tmp_path)
    plan = shards.plan(40, 40, 10)
    made: dict[str, list[int]] = {"one": [], "two": []}

    def work(owner: str) -> None:
        own = Claims(folder, owner)
        for shard in claims.open_ones(plan, own, whole(folder), pause=0.01):
            if shard is None:
                continue
            time.sleep(0.01)
            folder.create(shard.name, shards.encode(np.ones((10, 2), np.float32), 1))
            made[owner].append(shard.number)
            own.release(shard)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made["one"] + made["two"]) == list(range(8))
    assert all(shards.is_whole(tmp_path / shard.name, shard) for shard in plan)


def test_a_dead_jobs_claim_does_not_stop_another(tmp_path: Path):
    folder = Folder(f"file://{tmp_path}", tmp_path)
    shard = Shard(0, 0, 4, "query")
    Claims(folder, "dead").take(shard, time.time())
    claim = tmp_path / "shards" / ".000000.claim"
    old = time.time() - claims.CLAIM_SECONDS - 1
    os.utime(claim, (old, old))
    two = Claims(folder, "two")
    assert next(iter(claims.open_ones([shard], two, whole(folder)))) == shard


def test_texts_are_kept_once_and_by_kind():
    rows = [
        Record("d", "q"),
        Record("d", "q2"),
        None,
        Record("q"),
        Record("d3", "q", negatives=("d",)),
    ]
    corpus: Corpus = collect(rows)
    assert corpus.texts() == ["q", "q2", "d", "q", "d3"]
    assert corpus.empty == 1
    assert corpus.pairs() == 3


def test_a_document_that_scores_nothing_is_no_answer_but_a_negative():
    rows = [
        Record("bad", "q", score=0, negatives=("worse",)),
        Record("good", "q", score=0.5),
        Record("also good", "q", negatives=("bad",)),
        None,
        Record("bad", "nothing answers this", score=-1),
        Record("other", "p"),
    ]
    corpus = collect(rows)
    places = corpus.documents
    assert list(corpus.queries) == ["q", "p"]
    assert [(row[0], row[1]) for row in corpus.records] == [
        (0, places["good"]), (0, places["also good"]), (1, places["other"]),
    ]  # fmt: skip
    assert corpus.records[0][4] == [places["bad"], places["worse"]]
    assert corpus.records[1][4] == [places["bad"], places["worse"]]
    assert corpus.records[2][4] == []
    assert (corpus.rows, corpus.rejected, corpus.empty_rows) == (6, 2, [4])


def test_a_query_transform_looks_for_no_document_that_scores_nothing():
    rows = [Search("good", "q"), Search("bad", "q", score=0), Search("bad", "p", score=0)]
    found = searching.collect(rows, turns=False)
    assert [query.text for query in found.queries] == ["q"]
    assert found.relevant == [(0, found.documents["good"], None)]
    assert list(found.documents) == ["good", "bad"]
    assert (found.rows, found.rejected) == (3, 2)
