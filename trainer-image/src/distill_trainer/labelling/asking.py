"""Shards of a generating teacher's answers: which questions each holds, and how it is written."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from distill_common.rows import Question
from pyarrow import parquet

from distill_trainer.teachers.answers import Answer

SIZE: Final = 64
"""Questions of a shard: what an interrupted labelling has to ask again at most."""
QUESTIONS: Final = "questions.parquet"

QUESTION_SCHEMA: Final = pa.schema(
    [
        ("id", pa.int32()),
        ("query", pa.string()),
        ("context", pa.string()),
        ("reference", pa.string()),
        ("group", pa.string()),
    ]
)
ANSWER_SCHEMA: Final = pa.schema(
    [
        ("question", pa.int32()),
        ("number", pa.int32()),
        ("answer", pa.string()),
        ("thoughts", pa.string()),
        ("flaw", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("tokens", pa.int32()),
        ("token_ids", pa.list_(pa.uint32())),
        ("top_ids", pa.list_(pa.uint32())),
        ("top_logprobs", pa.list_(pa.float16())),
        ("tail", pa.list_(pa.float32())),
    ]
)
"""Of each answer; top_ids and top_logprobs hold k for each token, one token after the other."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of questions."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the file's name inside the label folder."""
        return f"shards/{self.number:06d}.parquet"


def plan(questions: int, size: int = SIZE) -> list[Shard]:
    """Divide questions into shards."""
    starts = range(0, questions, size)
    return [Shard(n, start, min(start + size, questions)) for n, start in enumerate(starts)]


def is_whole(path: Path, shard: Shard, answers: int) -> bool:
    """Tell whether a shard is there and holds as many answers to each question as it should."""
    try:
        return bool(parquet.read_metadata(path).num_rows == answers * (shard.stop - shard.start))
    except (OSError, pa.ArrowException):
        return False


def encode(shard: Shard, answers: Sequence[Answer], each: int) -> bytes:
    """Write a shard's answers, question after question, as Parquet."""
    rows = [
        _row(shard.start + place // each, place % each, one) for place, one in enumerate(answers)
    ]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, ANSWER_SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def _row(question: int, number: int, one: Answer) -> dict[str, Any]:
    cached = one.distributions
    return {
        "question": question,
        "number": number,
        "answer": one.text,
        "thoughts": one.thoughts,
        "flaw": None if one.flaw is None else one.flaw.value,
        "prompt_tokens": one.prompt_tokens,
        "tokens": one.tokens,
        "token_ids": None if one.ids is None else one.ids.tolist(),
        "top_ids": None if cached is None else cached.ids.ravel(),
        "top_logprobs": None if cached is None else cached.logprobs.ravel(),
        "tail": None if cached is None else cached.tail,
    }


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """Write the questions by number."""
    columns = {
        "id": list(range(len(questions))),
        "query": [one.query for one in questions],
        "context": [one.context for one in questions],
        "reference": [one.answer for one in questions],
        "group": [one.group for one in questions],
    }
    parquet.write_table(pa.table(columns, QUESTION_SCHEMA), path)


def tokens(path: Path) -> int:
    """Count the tokens that the teacher read and wrote for a shard."""
    table = parquet.read_table(path, columns=["prompt_tokens", "tokens"])
    return int(sum(sum(column.to_pylist()) for column in table.columns))
