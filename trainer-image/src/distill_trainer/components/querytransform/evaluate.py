"""Evaluate: what the student's transforms add to the recall, against what its teacher's add."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from distill_api.outcome import Benchmark, Corpus
from distill_api.recipe import QueryTransformTask
from distill_api.status import EvaluationStatus
from distill_api.wire import Report
from distill_common import graphs

from distill_trainer.benchmarking import asking
from distill_trainer.benchmarking import run as benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components import evaluated
from distill_trainer.components.evaluated import Judged
from distill_trainer.components.querytransform import models, prepare
from distill_trainer.components.querytransform.models import Room
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.exporting import seq2seq_graphs
from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.labelling import searching
from distill_trainer.measures import lifting, speed
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.lifting import Bench, Match, Written
from distill_trainer.preparing import splits
from distill_trainer.report import transforms_page
from distill_trainer.report.material import Folders
from distill_trainer.students import causal, seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.teachers.answers import Ask, Generator, Tell
from distill_trainer.teachers.onnx_seq2seq import OnnxSeq2Seq
from distill_trainer.texts import querying, transforms
from distill_trainer.texts.querying import Query, Wanted

SPEED_BATCHES: Final = 2
ROUNDS: Final = 3
QUALITY_SHARE: Final = 0.5
"""Part of the stage's progress that measuring quality stands for; speed is the rest."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Side:
    """A model as it writes when it is served, without chance, and how it is asked."""

    model: Generator
    ask: Callable[[Query], Ask]
    parameters: int
    """0 behind an endpoint, where nobody knows."""


def run(context: Context) -> Report:
    """Measure the trained student and its teacher; write evaluation.json and report.html."""
    return evaluated.run(context, _judge)


def _judge(context: Context, folder: Path, folders: Folders) -> Judged:
    sides = Pair(_student(context, folders), _teacher(context))
    match, tokens = _measure(context, bench(context, folders.prepared), sides)
    sides.teacher.model.close()
    asks = Pair(sides.student.ask, sides.teacher.ask)
    # Their memory is for the servers now.
    del sides
    asking_users = _asking(context, match.bench.queries, asks)
    match = replace(match, served=benchmark.run(context, folders, asking_users))
    status = lifting.status(match, context.task.spec.evaluation)
    _write(folder, match, status)
    transforms_page.write(folder / evaluated.REPORT, context.task, folders, match, status)
    spent = match.served.cpu_seconds if match.served else 0.0
    return Judged(status, lifting.facts(match), tokens, spent)


def _asking(
    context: Context, queries: Sequence[Query], asks: Pair[Callable[[Query], Ask]]
) -> Callable[[Benchmark], Pair[list[Request]]]:
    """Return what makes the requests of users: a query each, worded as each model was asked."""

    def requests(_: Benchmark) -> Pair[list[Request]]:
        made = (
            asking.answers(context.task, [ask(query) for query in queries])
            for ask in (asks.student, asks.teacher)
        )
        return Pair(*made)

    return requests


def _student(context: Context, folders: Folders) -> Side:
    """Open the student as it will be published."""
    spec, task = context.task.spec, models.wanted(context.task)
    trust = evaluated.trusts(context.task)
    sampling = spec.teacher.sampling.model_copy(
        update={"temperature": 0.0, "top_logprobs": 0, "chain_of_thought": False}
    )
    room = Room(sampling, spec.evaluation.throughput_batch_size)
    if not models.is_seq2seq(context.task):
        made = causal.load(evaluated.student_folder(folders), trust=trust)
        return Side(
            models.writer(context, made, room), _plain(task, sampling), causal.parameters(made)
        )
    encoder = seq2seq.load(folders.trained / STUDENT, trust=trust)

    def ask(query: Query) -> Ask:
        return Ask((("user", querying.source(query, task.task)),))

    return Side(_writing(context, encoder, room, folders), ask, seq2seq.parameters(encoder))


def _writing(context: Context, student: Seq2Seq, room: Room, folders: Folders) -> Generator:
    """Let an encoder-decoder write as it is published: by its weights, or by quantised graphs."""
    if folders.quantized is None:
        return models.writer(context, student, room)
    opened = Seq2SeqGraphs(
        folders.quantized / graphs.FOLDER,
        seq2seq_graphs.QUANTIZED,
        student.start,
        threads=context.task.threads,
    )
    return OnnxSeq2Seq(student, room.sampling, room.batch_size, graphs=opened)


def _plain(wanted: Wanted, sampling: Any) -> Callable[[Query], Ask]:
    asked = models.asker(wanted, sampling)
    return lambda query: asked(query, 0)


def _teacher(context: Context) -> Side:
    spec = context.task.spec
    sampling = spec.teacher.sampling.model_copy(update={"temperature": 0.0, "top_logprobs": 0})
    ask = _plain(models.wanted(context.task), sampling)
    if spec.teacher.endpoint is not None:
        return Side(models.open_teacher(context, sampling), ask, 0)
    opened = models.open_weights(context)
    room = Room(sampling, spec.evaluation.throughput_batch_size, spec.teacher.max_length)
    weights = sum(p.numel() for p in opened.model.parameters())
    return Side(models.writer(context, opened, room), ask, weights)


def bench(context: Context, prepared: Path) -> Bench:
    """Read the test split's queries and the documents that they are searched in."""
    rows = pq.read_table(prepared / prepare.SEARCHES).to_pylist()
    texts = pq.read_table(prepared / searching.DOCUMENTS)["text"].to_pylist()
    test = [row for row in rows if row["split"] == splits.TEST]
    if context.task.spec.evaluation.corpus is Corpus.TEST:
        kept = sorted({document for row in test for document in row["relevant"]})
    else:
        kept = list(range(len(texts)))
    place = {document: number for number, document in enumerate(kept)}
    wanted = models.wanted(context.task)
    return Bench(
        queries=[Query(row["query"], tuple(row["turns"])) for row in test],
        documents=[texts[document] for document in kept],
        relevant={
            number: frozenset(place[document] for document in row["relevant"])
            for number, row in enumerate(test)
        },
        replaces=wanted.task is QueryTransformTask.REWRITE,
    )


def _measure(context: Context, bench: Bench, sides: Pair[Side]) -> tuple[Match, int]:
    """Measure quality first, then speed; returns the teacher's tokens, too."""
    spec, wanted = context.task.spec, models.wanted(context.task)
    spent = 0

    def count(_answers: int, tokens: int) -> None:
        nonlocal spent
        spent += tokens

    tell = _teller(context, 2 * len(bench.queries))

    def tell_teacher(done: int, tokens: int) -> None:
        count(done, tokens)
        tell(done)

    texts = Pair(
        _write_all(sides.student, bench.queries, lambda done, _: tell(done)),
        _write_all(sides.teacher, bench.queries, tell_teacher),
    )
    written = Pair(*(_read(one, bench.queries, wanted) for one in (texts.student, texts.teacher)))
    recalls = lifting.measure(bench, written)
    match = Match(
        bench=bench,
        written=written,
        texts=texts,
        recalls=recalls,
        retentions=lifting.retentions(recalls, spec.evaluation, seed=spec.training.seed),
        timings=_timings(context, sides, bench.queries, count),
        parameters=Pair(sides.student.parameters, sides.teacher.parameters),
    )
    return match, spent


def _write_all(side: Side, queries: Sequence[Query], tell: Tell) -> list[str]:
    """Return what a model writes for each query; nothing where it has a flaw."""
    found = side.model.answer([side.ask(query) for query in queries], tell)
    # What was cut or refused is no list, whatever it looks like.
    return ["" if one.flaw is not None else one.text for one in found]


def _read(texts: Sequence[str], queries: Sequence[Query], wanted: Wanted) -> Written:
    return [
        transforms.read(text, query, wanted).kept
        for text, query in zip(texts, queries, strict=True)
    ]


def _timings(
    context: Context,
    sides: Pair[Side],
    queries: Sequence[Query],
    count: Callable[[int, int], None],
) -> Pair[speed.Timings]:
    """Time both models on the same queries in turns, each writing what it writes."""
    evaluation = context.task.spec.evaluation
    size = evaluation.throughput_batch_size
    texts = [json.dumps([query.text, query.turns]) for query in queries]
    work = speed.Workload(
        requests=list(islice(cycle(texts), evaluation.latency_requests)),
        batches=speed.batches(list(islice(cycle(texts), SPEED_BATCHES * size)), size),
        rounds=1 if context.task.spec.teacher.endpoint is not None else ROUNDS,
    )

    def tell(done: int, total: int) -> None:
        share = QUALITY_SHARE + (1 - QUALITY_SHARE) * done / max(total, 1)
        share *= evaluated.until_load(context)
        context.progress.tell(share, 1, {"calls": done}, "evaluate speed")
        context.check_stop()

    # Tokens are money where the teacher is a server's; the student's cost nothing.
    writers = {"student": _writer(sides.student), "teacher": _writer(sides.teacher, count)}
    timed = speed.measure(writers, work, tell)
    return Pair(timed["student"], timed["teacher"])


def _writer(side: Side, count: Tell | None = None) -> Callable[[Sequence[str]], None]:
    def write(texts: Sequence[str]) -> None:
        queries = [(text, tuple(turns)) for text, turns in map(json.loads, texts)]
        side.model.answer([side.ask(Query(*one)) for one in queries], count)

    return write


def _teller(context: Context, total: int) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        share = evaluated.until_load(context) * QUALITY_SHARE * done / max(total, 1)
        context.progress.tell(share, 1, {"queries": done}, "evaluate quality")
        context.check_stop()

    return tell


def _write(folder: Path, match: Match, status: EvaluationStatus) -> None:
    """Write evaluation.json: the status, each query's recall, and the worst ones."""
    recalls = match.recalls
    values = {
        "alone": recalls.alone,
        "student": recalls.found.student,
        "teacher": recalls.found.teacher,
    }
    content = {
        "evaluation": status.model_dump(mode="json", by_alias=True),
        "facts": lifting.facts(match),
        "retriever": "BM25, results united by reciprocal rank fusion",
        "perQuery": {name: [round(float(v), 6) for v in own] for name, own in values.items()},
        "latencySeconds": {
            "student": [round(seconds, 6) for seconds in match.timings.student.latencies],
            "teacher": [round(seconds, 6) for seconds in match.timings.teacher.latencies],
        },
        **evaluated.under_load(match.served),
        "worst": lifting.worst(match, 100),
    }
    evaluated.write_json(folder, content)
