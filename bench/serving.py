"""Throughput and latency of student and teacher, in turns, as the evaluate stage measures them.

This is the model behind a server: tokenising, the forward pass and pooling, without HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
import torch
from distill_trainer.measures import speed
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher
from lesson import Lesson
from loops import student

BATCH = 32
TEXTS = 512
REQUESTS = 100
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Served:
    """One model's numbers."""

    texts_per_second: float
    """Median over the rounds, in batches of BATCH."""
    p50: float
    p95: float
    p99: float
    """Milliseconds of one request with one text."""


def measure(lesson: Lesson, threads: int) -> dict[str, Served]:
    """Measure the demo's student, whose speed does not depend on what it knows, and its teacher."""
    torch.set_num_threads(threads)
    teacher = make.load(lesson.teacher).eval()
    teacher.max_seq_length = lesson.spec["teacher"]["maxLength"]
    models = {"student": student(lesson).eval(), "teacher": teacher}
    table = pq.read_table(lesson.prepared / "texts.parquet", columns=["text", "kind"]).to_pylist()
    documents = [row["text"] for row in table if row["kind"] == "document"][:TEXTS]
    queries = [row["text"] for row in table if row["kind"] == "query"][:REQUESTS]
    work = speed.Workload(queries, speed.batches(documents, BATCH), ROUNDS)
    embedders = {name: _embedder(LocalTeacher(model, BATCH)) for name, model in models.items()}
    timed = speed.measure(embedders, work, lambda _done, _total: None)
    return {name: _served(timings) for name, timings in timed.items()}


def _embedder(model: LocalTeacher) -> speed.Embed:
    def embed(texts: Sequence[str]) -> object:
        return model.embed(texts, prompt="")

    return embed


def _served(timings: speed.Timings) -> Served:
    p50, p95, p99 = (1000 * timings.percentile(share) for share in (50, 95, 99))
    return Served(timings.texts_per_second, p50, p95, p99)
