"""Every format is read alike, and bad rows are named."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from distill_api.names import Reason
from distill_api.sources import Columns, DataFormat
from distill_trainer.errors import BadInput
from distill_trainer.sources import records
from distill_trainer.sources.records import Record
from pyarrow import parquet


def read(path: Path, kind: DataFormat = DataFormat.JSONL, **columns: str) -> list[Record | None]:
    return list(records.read(path, kind, Columns(**columns)))


def test_jsonl_keeps_order_and_optional_columns(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        '{"query": "q1", "document": "d1", "group": 7, "score": 0.5, "negatives": ["n"]}\n'
        "\n"
        '{"document": "d2"}\n'
        '{"query": "", "document": "d3"}\n'
        '{"query": "q4", "document": " "}\n'
    )
    assert read(path) == [
        Record("d1", "q1", "7", 0.5, ("n",)),
        Record("d2"),
        Record("d3"),
        None,
    ]


def test_all_formats_give_the_same_records(tmp_path: Path):
    rows = [{"q": "one, two", "text": 'says "x"\nand more'}, {"q": None, "text": "only ä text"}]
    (tmp_path / "a.csv").write_text('q,text\n"one, two","says ""x""\nand more"\n,only ä text\n')
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"q": "one, two", "text": "says \\"x\\"\\nand more"}\n')
        file.write('{"q": null, "text": "only \\u00e4 text"}\n')
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = {
        kind: read(tmp_path, kind, query="q", document="text")
        for kind in (DataFormat.CSV, DataFormat.JSONL, DataFormat.PARQUET)
    }
    expected = [Record('says "x"\nand more', "one, two"), Record("only ä text")]
    assert found == dict.fromkeys(found, expected)


BAD: list[tuple[str, bytes, str]] = [
    ("no JSON", b'{"query": "q"', "line 2 is not JSON"),
    ("a list", b'["q", "d"]', "line 2 is not a JSON object"),
    (
        "other columns",
        b'{"question": "q", "text": "d"}',
        'has no column "document" (it has question',
    ),
    ("a number", b'{"query": "q", "document": 7}', 'column "document" is of type int'),
    ("Latin-1", '{"document": "ä"}'.encode("latin-1"), "line 2 is not UTF-8 (byte 14)"),
    ("half a pair", b'{"document": "\\ud83d"}', "half a surrogate pair"),
    ("negatives as text", b'{"document": "d", "negatives": "n"}', "is not a list of texts"),
    ("10 MB", b'{"document": "' + b"x" * 10_000_000 + b'"}', "line 2 is longer than 10 MB"),
    ("deep nesting", b"[" * 200_000, "line 2 is not JSON"),
]


@pytest.mark.parametrize(("why", "line", "expected"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, why: str, line: bytes, expected: str):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"document": "good"}\n' + line + b"\n")
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.reason is Reason.BAD_DATA
    assert expected in caught.value.sentence
    assert len(caught.value.sentence) < 600


def test_many_bad_rows_are_counted_not_listed(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text("x\n" * 1000)
    with pytest.raises(BadInput, match="and 17 more"):
        read(path)


def test_a_folder_without_the_format_says_what_is_there(tmp_path: Path):
    (tmp_path / "data.csv").write_text("query,document\n")
    with pytest.raises(BadInput, match=r"no JSONL file.*found data.csv"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_broken_parquet_file_is_bad_data(tmp_path: Path, content: bytes):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(BadInput, match="is not a Parquet file"):
        read(tmp_path / "a.parquet", DataFormat.PARQUET)


def test_a_csv_with_other_bytes_is_bad_data(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"query,document\nq,\xff\xfe\n")
    with pytest.raises(BadInput, match="line 2 is not UTF-8"):
        read(tmp_path / "a.csv", DataFormat.CSV)


def test_reading_is_lazy(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"document": "d"}\n' * 3 + "broken\n")
    rows: Any = records.read(path, DataFormat.JSONL, Columns())
    assert [next(rows) for _ in range(3)] == [Record("d")] * 3
