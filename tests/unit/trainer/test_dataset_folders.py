"""Folders of Hugging Face data sets are read as the library writes them, nothing is run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distill_api.data import Columns, DataFormat
from distill_trainer.errors import BadInput
from distill_trainer.sources import records
from distill_trainer.sources.records import Record

ROWS = {
    "query": ["one", "two", None, "four"],
    "document": ["d1", "d2", "d3", ""],
    "negatives": [["n"], [], None, []],
    "score": [1.0, 0.5, None, None],
}
EXPECTED = [
    Record("d1", "one", score=1.0, negatives=("n",)),
    Record("d2", "two", score=0.5),
    Record("d3"),
    None,
]
README = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: "parts/learn-*"
  - split: test
    path: parts/judge.parquet
---
# Data
"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def read(path: Path) -> list[Record | None]:
    return list(records.read(path, DataFormat.HF_DATASET, Columns()))


def test_a_data_set_that_was_saved_is_read(tmp_path: Path):
    from datasets import Dataset

    Dataset.from_dict(ROWS).save_to_disk(tmp_path / "one", num_shards=3)
    assert read(tmp_path / "one") == EXPECTED
    assert read(tmp_path) == EXPECTED  # an archive puts a folder around


def test_chosen_rows_are_saved_and_read_as_chosen(tmp_path: Path):
    from datasets import Dataset

    Dataset.from_dict(ROWS).select([1, 0]).save_to_disk(tmp_path)
    assert read(tmp_path) == [EXPECTED[1], EXPECTED[0]]


def test_of_several_splits_train_is_read(tmp_path: Path):
    from datasets import Dataset, DatasetDict

    other = Dataset.from_dict({"query": ["no"], "document": ["no"]})
    DatasetDict(test=other, train=Dataset.from_dict(ROWS)).save_to_disk(tmp_path)
    assert read(tmp_path) == EXPECTED


def test_splits_without_train_are_named(tmp_path: Path):
    from datasets import Dataset, DatasetDict

    one = Dataset.from_dict(ROWS)
    DatasetDict(left=one, right=one).save_to_disk(tmp_path / "two")
    with pytest.raises(BadInput, match="has the splits left, right and none is called train"):
        read(tmp_path / "two")
    DatasetDict(left=one).save_to_disk(tmp_path / "single")
    assert read(tmp_path / "single") == EXPECTED


def test_a_folder_as_on_the_hub_is_read_by_its_names(tmp_path: Path):
    from datasets import Dataset

    one = Dataset.from_dict(ROWS)
    (tmp_path / "data").mkdir()
    one.select([0, 1]).to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    one.select([2, 3]).to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    one.to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("# Data\n")
    (tmp_path / "load.py").write_text("raise SystemExit('this must never run')\n")
    assert read(tmp_path) == EXPECTED


def test_the_readme_says_which_files_are_train(tmp_path: Path):
    from datasets import Dataset

    (tmp_path / "parts").mkdir()
    Dataset.from_dict(ROWS).to_parquet(tmp_path / "parts" / "learn-1.parquet")
    Dataset.from_dict(ROWS).to_parquet(tmp_path / "parts" / "judge.parquet")
    (tmp_path / "README.md").write_text(README)
    assert read(tmp_path) == EXPECTED


def test_json_lines_as_on_the_hub(tmp_path: Path):
    (tmp_path / "train.jsonl").write_text('{"query": "q", "document": "d"}\n')
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert read(tmp_path) == [Record("d", "q")]


BAD: list[tuple[str, dict[str, str], str]] = [
    ("nothing", {"notes.txt": ""}, "The folder is no data set: it has notes.txt"),
    ("no whole save", {"state.json": "{}"}, "state.json names no files"),
    ("a shard is missing", {"state.json": '{"_data_files": [{"filename": "a.arrow"}]}'},
     "a.arrow is missing"),
    ("a file outside", {"state.json": '{"_data_files": [{"filename": "../../a.arrow"}]}'},
     "is no whole data set"),
    ("broken state", {"state.json": "{"}, "state.json cannot be read"),
    ("no splits", {"dataset_dict.json": '{"splits": 7}'}, "names no splits"),
    ("an absent split", {"dataset_dict.json": '{"splits": ["train"]}'}, "state.json cannot"),
    ("broken front matter", {"README.md": "---\n{: [\n---\n", "a.jsonl": "x"}, "YAML that cannot"),
    ("two configurations",
     {"README.md": "---\nconfigs: [{config_name: a}, {config_name: b}]\n---\n",
      "a.jsonl": "x"}, "the configurations a, b and none is the default"),
    ("a broken shard", {"state.json": '{"_data_files": [{"filename": "a.arrow"}]}', "a.arrow": "x"},
     "a.arrow: not Arrow that can be read"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "files", "expected"), BAD, ids=[case[0] for case in BAD])
def test_a_folder_that_is_none_gives_a_sentence(
    tmp_path: Path, why: str, files: dict[str, str], expected: str
):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInput) as caught:
        read(tmp_path)
    assert expected in caught.value.sentence
