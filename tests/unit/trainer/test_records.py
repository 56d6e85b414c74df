"""Every format is read alike, and bad rows are named by kind and number."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from distill_api.data import Columns, DataFormat
from distill_api.names import Reason
from distill_trainer.errors import BadInput
from distill_trainer.sources import records
from distill_trainer.sources.records import Record
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet


def read(path: Path, kind: DataFormat = DataFormat.JSONL, **columns: str) -> list[Record | None]:
    return list(records.read(path, kind, Columns(**columns)))


def refused(path: Path, kind: DataFormat = DataFormat.JSONL) -> str:
    with pytest.raises(BadInput) as caught:
        read(path, kind)
    assert caught.value.reason is Reason.BAD_DATA
    assert len(caught.value.sentence) < 900
    return caught.value.sentence


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


def test_zstandard_is_unpacked_on_the_way(tmp_path: Path):
    with pa.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as file:
        file.write(b'{"query": "q", "document": "d"}\n' * 3)
    with pa.output_stream(str(tmp_path / "a.csv.zst"), compression="zstd") as file:
        file.write(b"query,document\nq,d\n")
    assert read(tmp_path) == [Record("d", "q")] * 3
    assert read(tmp_path, DataFormat.CSV) == [Record("d", "q")]


def test_csv_cells_may_hold_a_list_of_negatives_and_documents_stay_text(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('query,document,negatives\nq,"[""a""]","[""n"", ""m""]"\n')
    assert read(path, DataFormat.CSV) == [Record('["a"]', "q", negatives=("n", "m"))]


LINES: list[tuple[str, bytes, str]] = [
    ("no JSON", b'{"query": "q"', "data.jsonl line 2: not JSON (Expecting"),
    ("a list", b'["q", "d"]', "line 2: not a JSON object"),
    ("a JSON file over many lines", b"[", "each object must be in one line"),
    ("other columns", b'{"question": "q", "text": "d"}',
     'line 2: no column "document" (there are question, text; set columns.document: "text"?)'),
    ("a number", b'{"query": "q", "document": 7}', 'line 2: column "document" is a number'),
    ("a list where text is", b'{"document": ["d"]}', 'column "document" is a list, expected text'),
    ("an object where text is", b'{"document": {}}', 'column "document" is an object'),
    ("NaN as text", b'{"document": "d", "query": NaN}', 'column "query" is NaN or infinite'),
    ("Latin-1", '{"document": "ä"}'.encode("latin-1"), "line 2: not UTF-8 (byte 14 of"),
    ("half a pair", b'{"document": "\\ud83d"}', "half a surrogate pair"),
    ("half a pair in a negative", b'{"document": "d", "negatives": ["\\udc00"]}', "an entry holds"),
    ("half a pair in a group", b'{"document": "d", "group": "\\udc00"}', 'column "group" holds'),
    ("NUL", b'{"document": "a\\u0000b"}', "holds NUL characters"),
    ("NaN score", b'{"document": "d", "score": NaN}', 'column "score" is NaN or infinite'),
    ("infinite score", b'{"document": "d", "score": -1e999}', 'column "score" is NaN or infinite'),
    ("a NaN score as text", b'{"document": "d", "score": "nan"}', "is NaN or infinite"),
    ("a huge score", b'{"document": "d", "score": 1' + b"0" * 400 + b"}", "is no number"),
    ("a word as score", b'{"document": "d", "score": "high"}', "is no number (it is 'high"),
    ("a yes as score", b'{"document": "d", "score": true}', '"score" is true or false'),
    ("negatives as text", b'{"document": "d", "negatives": "n"}', "is not a list of texts"),
    ("a list as group", b'{"document": "d", "group": [1]}', 'column "group" is a list'),
    ("10 MB", b'{"document": "' + b"x" * 10_000_000 + b'"}', "line 2: longer than 10 MB"),
    ("deep nesting", b"[" * 200_000, "line 2: not JSON"),
    ("UTF-16 after UTF-8", "{}".encode("utf-16"), "line 2: not UTF-8 (byte 0 of the line is 0xff)"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "line", "expected"), LINES, ids=[case[0] for case in LINES])
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, why: str, line: bytes, expected: str):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"document": "good"}\n' + line + b"\n")
    assert expected in refused(path)


TABLES: list[tuple[str, bytes, str]] = [
    ("other bytes", b"query,document\nq,\xff\xfe\nq,d\nq,\xe4\n",
     'a.csv, 2 lines (2, 4): not UTF-8 (first: column "document", byte 0xff)'),
    ("too few fields", b'query,document\n"q","d\nd"\nq\n',
     "a.csv line 4: another number of fields than the header (1 instead of 2)"),
    ("too many fields", b"query,document\nq,d,e\n",
     "line 2: another number of fields than the header (3 instead of 2)"),
    ("a name twice", b"query,document,query\nq,d,q\n",
     "a.csv: the header names 'query' more than once"),
    ("an open quote", b'query,document\nq,"d\n', "line 2: not CSV (unexpected end of data)"),
    ("no such column", b"question,text\nq,d\n" * 3000,
     'a.csv: no column "document" (there are question, text; set columns.document: "text"?)'),
    ("no such query", b"question,document\nq,d\n",
     'The data has no column "query" in any row: there are question, document; set'),
    ("a broken list", b'query,document,negatives\nq,d,"[""n"""\n', "is no JSON list of texts"),
    ("a long field", b"query,document\nq," + b"x" * 10_000_001 + b"\n", "line 2: longer than 10"),
    ("UTF-16", "query,document\nq,d\n".encode("utf-16"), "a.csv line 1: UTF-16 text"),
    ("a NaN score", b"query,document,score\nq,d,1\nq,d,nan\n", 'line 3: column "score" is NaN'),
    ("nothing", b"", "The data has no rows"),
    ("only a header", b"query,document\n", "The data has no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "content", "expected"), TABLES, ids=[case[0] for case in TABLES])
def test_a_bad_csv_row_is_named_by_its_line(
    tmp_path: Path, why: str, content: bytes, expected: str
):
    (tmp_path / "a.csv").write_bytes(content)
    assert expected in refused(tmp_path / "a.csv", DataFormat.CSV)


COLUMNAR: list[tuple[str, pa.Table, str]] = [
    ("a nested document", pa.table({"query": ["q"], "document": [{"text": "d"}]}),
     'a.parquet: column "document" is a struct<text: string>, expected text'),
    ("a list of texts", pa.table({"query": [["q"]], "document": ["d"]}),
     'column "query" is a list<'),
    ("numbers", pa.table({"query": ["q"] * 3, "document": [1, 2, 3]}),
     'a.parquet, 3 rows (1, 2, 3): column "document" is a number, expected text'),
    ("bytes", pa.table({"query": ["q"], "document": [b"d"]}), 'row 1: column "document" is bytes'),
    ("no such column", pa.table({"query": ["q"], "passage": ["d"]}),
     'set columns.document: "passage"'),
    ("a NaN score", pa.table({"query": ["q"] * 3, "document": ["d"] * 3,
                              "score": [1.0, math.nan, math.inf]}),
     'a.parquet, 2 rows (2, 3): column "score" is NaN or infinite'),
    ("a name twice", pa.table([["q"], ["d"], ["e"]], ["query", "document", "document"]),
     "the header names 'document' more than once"),
    ("no rows", pa.table({"query": ["q"], "document": ["d"]}).slice(1),
     "The data has no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "table", "expected"), COLUMNAR, ids=[c[0] for c in COLUMNAR])
def test_a_bad_parquet_row_is_named_by_its_number(
    tmp_path: Path, why: str, table: pa.Table, expected: str
):
    parquet.write_table(table, tmp_path / "a.parquet")
    assert expected in refused(tmp_path / "a.parquet", DataFormat.PARQUET)


def test_all_rows_with_the_same_problem_are_told_together(tmp_path: Path):
    lines = ['{"query": "q", "document": "d"}'] * 100
    for number in (12, 50, 90):
        lines[number - 1] = '{"document": ""}'  # without text: counted, not refused
    for number in (3, 57, 91):
        lines[number - 1] = '{"document": "d", "score": NaN}'
    for number in range(60, 70):
        lines[number - 1] = '{"document": 1}'
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    sentence = refused(tmp_path / "data.jsonl")
    assert 'data.jsonl, 3 lines (3, 57, 91): column "score" is NaN' in sentence
    assert 'data.jsonl, 10 lines (60, 61, 62, 63, 64, …): column "document" is a num' in sentence
    assert "12" not in sentence


def test_reading_stops_where_every_row_is_bad(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text("x\n" * 3000)
    sentence = refused(path)
    assert "data.jsonl, 1000 lines (1, 2, 3, 4, 5, …): not JSON (first: " in sentence
    assert "reading stopped after 1000 bad rows" in sentence


def test_a_folder_without_the_format_says_what_is_there(tmp_path: Path):
    (tmp_path / "data.csv").write_text("query,document\n")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "left.jsonl").write_text("x")
    with pytest.raises(BadInput, match=r"no JSONL file.*found data.csv\."):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_broken_parquet_file_is_bad_data(tmp_path: Path, content: bytes):
    (tmp_path / "a.parquet").write_bytes(content)
    assert "a.parquet: not Parquet that can be read" in refused(
        tmp_path / "a.parquet", DataFormat.PARQUET
    )


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_that_was_cut_is_bad_data(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.jsonl.{suffix}"
    compression = {"gz": "gzip", "zst": "zstd"}[suffix]
    with pa.output_stream(str(path), compression=compression) as file:
        for number in range(5000):
            file.write(json.dumps({"query": f"q{hash((number, 1))}", "document": "d"}).encode())
            file.write(b"\n")
    path.write_bytes(path.read_bytes()[:-2000])
    assert "the compressed file is broken" in refused(path) or suffix == "zst"
    (tmp_path / f"b.jsonl.{suffix}").write_bytes(b"no such thing")
    assert "the compressed file is broken" in refused(tmp_path / f"b.jsonl.{suffix}")


def test_reading_is_lazy(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"document": "d"}\n' * 3 + "broken\n")
    rows: Any = records.read(path, DataFormat.JSONL, Columns())
    assert [next(rows) for _ in range(3)] == [Record("d")] * 3


SEEDS = (
    b'{"query": "q", "document": "d"}\n',
    b'query,document\n"q","d"\n',
    b"PAR1",
    b"\xff\xff\xff\xff",
    b"\x1f\x8b",
    b"(\xb5/\xfd",
)


@given(
    st.lists(st.one_of(st.sampled_from(SEEDS), st.binary(max_size=60)), max_size=4),
    st.sampled_from(["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz", "a.jsonl.zst", "a.arrow"]),
    st.sampled_from(list(DataFormat)),
)
def test_whatever_the_bytes_are_a_sentence_comes_of_them(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], name: str, kind: DataFormat
):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / name).write_bytes(b"".join(parts))
    for path in (folder, folder / name):
        try:
            found = read(path, kind)
        except BadInput as error:
            assert error.sentence  # noqa: PT017 - either way is right
        else:
            assert all(one is None or isinstance(one, Record) for one in found)


@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["parquet", "arrow"]))
def test_a_flipped_byte_of_a_columnar_file_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, kind: str
):
    folder = tmp_path_factory.mktemp("flip")
    file = folder / f"data.{kind}"
    table = pa.table({"query": ["q one", "q two", None], "document": ["d", "ä" * 40, "e"]})
    if kind == "parquet":
        parquet.write_table(table, file)
    else:
        with pa.ipc.new_stream(str(file), table.schema) as stream:
            stream.write_table(table)
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content)
    try:
        found = read(folder, DataFormat.HF_DATASET)
    except BadInput as error:
        assert error.sentence  # noqa: PT017 - either way is right
    else:
        assert len(found) <= 3


@pytest.mark.parametrize("limit", [3, 4, 5])
def test_bad_rows_are_told_though_only_the_first_rows_are_read(tmp_path: Path, limit: int):
    path = tmp_path / "data.jsonl"
    path.write_text('{"document": "a"}\n{"document": 7}\n' + '{"document": "b"}\n' * 3 + "{\n")
    with pytest.raises(BadInput, match='line 2: column "document" is a number'):
        list(records.read(path, DataFormat.JSONL, Columns(), limit))


def test_rows_beyond_the_first_ones_are_not_looked_at(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"document": "a"}\n{"document": " "}\n' + "broken\n")
    assert list(records.read(path, DataFormat.JSONL, Columns(), 2)) == [Record("a"), None]
    assert list(records.read(path, DataFormat.JSONL, Columns(), 1)) == [Record("a")]


TURNS = ["Who was Ada?", "A mathematician."]


def test_turns_are_read_as_a_list_from_every_format(tmp_path: Path):
    rows: list[dict[str, Any]] = [
        {"query": "q1", "document": "d1", "context": TURNS},
        {"query": "q2", "document": "d2", "context": ["[sic] only one"]},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = [json.dumps(TURNS).replace('"', '""'), "[sic] only one"]
    (tmp_path / "a.csv").write_text(
        f'query,document,context\nq1,d1,"{cells[0]}"\nq2,d2,{cells[1]}\nq3,d3,\n'
    )
    for kind in (DataFormat.PARQUET, DataFormat.JSONL, DataFormat.CSV):
        found = list(records.searches(tmp_path, kind, Columns()))
        assert [one.turns for one in found[:2] if one] == [tuple(TURNS), ("[sic] only one",)]


def test_a_context_that_is_a_list_is_no_generators_context(tmp_path: Path):
    rows = [{"query": "q", "context": TURNS}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r'column "context" is a list<.*, expected text'):
        list(records.questions(tmp_path, DataFormat.PARQUET, Columns()))


def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path: Path):
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(b'{"document": "d"}\n'))
    assert read(path) == [Record("d")]
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(b'{"document": "e"}\n')
    assert read(path) == [Record("e")]
    (tmp_path / "plain.jsonl.gz").write_bytes(b'{"document": "d"}\n')
    assert "the compressed file is broken" in refused(tmp_path / "plain.jsonl.gz")


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_marks_between_fields_are_named(tmp_path: Path, mark: str, word: str):
    path = tmp_path / "a.csv"
    path.write_text(f"query{mark}document\nq{mark}d\n")
    assert f"its fields seem to be parted by {word}" in refused(path, DataFormat.CSV)
