"""Evaluate: student against teacher on the test split, in quality and in speed, with a verdict."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from distill_api.names import Stage
from distill_api.status import EvaluationStatus, Usage
from distill_api.wire import Report

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.measures import contest, quality, speed
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.quality import Bench, Vectors
from distill_trainer.report import document, material
from distill_trainer.stages.train import STUDENT, prompts
from distill_trainer.students import make
from distill_trainer.teachers import Teacher as Model
from distill_trainer.teachers import Tell, opening
from distill_trainer.teachers.local import LocalTeacher
from distill_trainer.training import runtime

EVALUATION = "evaluation.json"
REPORT = "report.html"
THROUGHPUT_TEXTS = 512
"""Documents of one round of the throughput measurement."""
ROUNDS = 3
ROUNDS_OF_ENDPOINT = 1
"""Each call of an endpoint costs money."""
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
    trained = context.workspace.output(Stage.TRAIN)
    fingerprint = fingerprints.evaluate(context.task, trained.fingerprint)
    if done := context.workspace.find(Stage.EVALUATE, fingerprint):
        return done.reused()
    prepared = context.workspace.output(Stage.PREPARE)
    draft = context.workspace.draft(Stage.EVALUATE, fingerprint)
    runtime.settle(context.task.threads, context.task.gpus)
    models = _models(context, trained)
    found = _measure(context, prepared.path, models)
    models.teacher.model.close()
    status = contest.status(found, context.task.spec.evaluation)
    _write(draft.path, found, status)
    folders = material.Folders(prepared.path, trained.path)
    told = material.gather(context.task, folders, found, status)
    document.write(draft.path / REPORT, told)
    endpoint = context.task.spec.teacher.endpoint is not None
    report = Report(
        stage=Stage.EVALUATE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=f"{status.verdict}. {status.explanation} Speed-up {found.speedup:.2f}."[:400],
        evaluation=status,
        usage=Usage(teacher_tokens=models.teacher.tokens if endpoint else None),
        facts=contest.facts(found),
    )
    return draft.commit(report, inputs=trained.inputs)


def _models(context: Context, trained: Output) -> Pair[Counted]:
    """Open the student as it will be published, and its teacher."""
    spec, before = context.task.spec, prompts(context.task)
    batch = spec.evaluation.throughput_batch_size
    # Code of a student's own lies in its folder only where it was asked for when it was fetched.
    trust = bool(spec.student.model and spec.student.model.trust_remote_code)
    student = LocalTeacher(make.load(trained.path / STUDENT, trust=trust).eval(), batch)
    teacher = opening.open_teacher(context)
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
    tell = _teller(context, len(bench.queries) + len(bench.documents))
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
    endpoint = context.task.spec.teacher.endpoint is not None
    documents = bench.document_texts()
    stride = max(len(documents) // THROUGHPUT_TEXTS, 1)
    work = speed.Workload(
        requests=list(islice(cycle(bench.query_texts()), evaluation.latency_requests)),
        batches=speed.batches(
            documents[::stride][:THROUGHPUT_TEXTS], evaluation.throughput_batch_size
        ),
        rounds=ROUNDS_OF_ENDPOINT if endpoint else ROUNDS,
    )

    def tell(done: int, total: int) -> None:
        share = QUALITY_SHARE + (1 - QUALITY_SHARE) * done / max(total, 1)
        context.progress.tell(share, 1, {"calls": done}, "evaluate speed")
        context.check_stop()

    timed = speed.measure(
        {"student": models.student.documents, "teacher": models.teacher.documents}, work, tell
    )
    return Pair(timed["student"], timed["teacher"])


def _teller(context: Context, total: int) -> Callable[[int, int], None]:
    done = 0

    def tell(texts: int, _tokens: int) -> None:
        nonlocal done
        done += texts
        share = QUALITY_SHARE * done / max(total, 1)
        context.progress.tell(share, 1, {"texts": done}, "evaluate quality")
        context.check_stop()

    return tell


def _parameters(model: Model) -> int:
    """Count the weights; 0 behind an endpoint, where nobody knows."""
    return make.parameters(model.model) if isinstance(model, LocalTeacher) else 0


def _write(folder: Path, found: Contest, status: EvaluationStatus) -> None:
    """Write evaluation.json: the status, each query's values, and the worst queries."""
    content = {
        "evaluation": status.model_dump(mode="json", by_alias=True),
        "widths": {str(width): score for width, score in found.widths.items()},
        "perQuery": {
            name: {measure: values.round(6).tolist() for measure, values in result.values.items()}
            for name, result in (
                ("student", found.results.student),
                ("teacher", found.results.teacher),
            )
        },
        "latencySeconds": {
            name: [round(seconds, 6) for seconds in timings.latencies]
            for name, timings in (
                ("student", found.timings.student),
                ("teacher", found.timings.teacher),
            )
        },
        "worst": [contest.described(found, mistake) for mistake in contest.worst(found)],
    }
    (folder / EVALUATION).write_text(json.dumps(content, indent=1, ensure_ascii=False))
