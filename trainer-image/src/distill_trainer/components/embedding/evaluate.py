"""Evaluate: student against teacher on the test split, in quality and in speed, with a verdict."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from distill_api.outcome import Benchmark
from distill_api.wire import Report

from distill_trainer.benchmarking import asking
from distill_trainer.benchmarking import run as benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components import evaluated
from distill_trainer.components.embedding.train import prompts
from distill_trainer.components.evaluated import Judged
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.measures import contest, quality, speed
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.quality import Bench, Vectors
from distill_trainer.report.material import Folders
from distill_trainer.students import make
from distill_trainer.teachers import Teacher as Model
from distill_trainer.teachers import Tell, opening
from distill_trainer.teachers.local import LocalTeacher

THROUGHPUT_TEXTS = 512
"""Documents of one round of the throughput measurement."""
QUALITY_SHARE = 0.3
"""Part of the stage's progress that measuring quality stands for; speed is the rest."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counted:
    """A model that embeds, its prompts, and the tokens that it was sent."""

    model: Model
    query: str
    document: str
    tokens: int = 0

    def queries(self, texts: Sequence[str], tell: Tell | None = None) -> Vectors:
        """Embed queries: float32 [texts, width]."""
        return self._embed(texts, self.query, tell)

    def documents(self, texts: Sequence[str], tell: Tell | None = None) -> Vectors:
        """Embed documents: float32 [texts, width]."""
        return self._embed(texts, self.document, tell)

    def _embed(self, texts: Sequence[str], prompt: str, tell: Tell | None) -> Vectors:
        embedded = self.model.embed(texts, prompt=prompt, tell=tell)
        self.tokens += embedded.tokens
        return embedded.vectors


def run(context: Context) -> Report:
    """Measure the trained student and its teacher; write evaluation.json and report.html."""
    return evaluated.run(context, _judge)


def _judge(context: Context, folder: Path, folders: Folders) -> Judged:
    models = _models(context, folders)
    found = _measure(context, folders.prepared, models)
    models.teacher.model.close()
    tokens = models.teacher.tokens
    # Their memory is for the servers now.
    del models
    found = replace(found, served=benchmark.run(context, folders, _asking(context, found.bench)))
    status = evaluated.contested(context, folder, folders, found)
    return Judged(status, contest.facts(found), tokens)


def _asking(context: Context, bench: Bench) -> Callable[[Benchmark], Pair[list[Request]]]:
    """Return what makes the requests of users: one query each, with the model's own prompt."""

    def requests(_: Benchmark) -> Pair[list[Request]]:
        queries, prompt = bench.query_texts(), context.task.spec.teacher.prompts.query
        return Pair(
            [asking.embedding([query], input_type="query") for query in queries],
            [asking.embedding([prompt + query]) for query in queries],
        )

    return requests


def _models(context: Context, folders: Folders) -> Pair[Counted]:
    """Open the student as it will be published, and its teacher.

    A quantised student runs on the processor, and so does then what it is timed against.
    """
    spec, before = context.task.spec, prompts(context.task)
    batch = spec.evaluation.throughput_batch_size
    made = make.load(folders.trained / STUDENT, trust=evaluated.trusts(context.task))
    made.to(evaluated.device(context.task, folders))
    student = LocalTeacher(evaluated.as_published(context, made.eval(), folders), batch)
    teacher = opening.open_teacher(context)
    if isinstance(teacher, LocalTeacher):
        teacher.model.to(evaluated.device(context.task, folders))
    return Pair(
        Counted(student, before.query, before.document),
        Counted(teacher, spec.teacher.prompts.query, spec.teacher.prompts.document),
    )


def _measure(context: Context, prepared: Path, models: Pair[Counted]) -> Contest:
    """Measure quality first, then speed."""
    spec = context.task.spec
    bench = quality.load(prepared, spec.evaluation.corpus)
    log.info("%d queries, %d documents", len(bench.queries), len(bench.documents))
    wanted = contest.measures(spec.evaluation)
    told = evaluated.teller(
        context, len(bench.queries) + len(bench.documents), "texts", QUALITY_SHARE
    )

    def tell(texts: int, _tokens: int) -> None:
        told(texts)

    by_student = (
        models.student.queries(bench.query_texts(), tell),
        models.student.documents(bench.document_texts(), tell),
    )
    cached = np.load(prepared / "embeddings.npy", mmap_mode="r")
    by_teacher = (np.asarray(cached[bench.queries]), np.asarray(cached[bench.documents]))
    results = Pair(
        quality.result(bench, wanted, *by_student), quality.result(bench, wanted, *by_teacher)
    )
    cuts = spec.recipe.embedding.matryoshka if spec.recipe.embedding else None
    widths = [by_student[0].shape[1], *cuts.dimensions] if cuts else []
    return Contest(
        bench=bench,
        results=results,
        retentions=contest.retentions(results, spec.evaluation, seed=spec.training.seed),
        timings=_timings(context, bench, models),
        parameters=Pair(_parameters(models.student.model), _parameters(models.teacher.model)),
        widths=quality.by_width(bench, contest.MAIN, *by_student, widths),
    )


def _timings(context: Context, bench: Bench, models: Pair[Counted]) -> Pair[speed.Timings]:
    """Time both models on the same texts, in turns."""
    evaluation = context.task.spec.evaluation
    documents = bench.document_texts()
    stride = max(len(documents) // THROUGHPUT_TEXTS, 1)
    work = speed.Workload(
        requests=list(islice(cycle(bench.query_texts()), evaluation.latency_requests)),
        batches=speed.batches(
            documents[::stride][:THROUGHPUT_TEXTS], evaluation.throughput_batch_size
        ),
        rounds=evaluated.rounds(context),
    )
    both = Pair(models.student.documents, models.teacher.documents)
    return evaluated.timed(context, both, work, QUALITY_SHARE)


def _parameters(model: Model) -> int:
    """Count the weights; 0 behind an endpoint, where nobody knows."""
    return make.parameters(model.model) if isinstance(model, LocalTeacher) else 0
