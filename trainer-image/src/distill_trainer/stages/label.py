"""Label: the teacher reads every text once; its embeddings are kept for all jobs that need them."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import corpus as corpora
from distill_trainer.labelling import shards as sharding
from distill_trainer.labelling.corpus import Corpus
from distill_trainer.labelling.shards import Claims, Embeddings, Shard
from distill_trainer.preparing import sufficiency
from distill_trainer.sources import fetching, records
from distill_trainer.teachers import Teacher, opening
from distill_trainer.workspace import Draft

SETTINGS: Final = "label.json"
UNIT: Final = 1e-3
"""Embeddings whose norms differ from 1 by no more count as normalised."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Inputs:
    """Teacher and data; fetched no earlier than needed."""

    context: Context
    teacher: str = ""
    data: str = ""
    teacher_path: Path | None = None
    data_path: Path | None = None

    def known(self) -> bool:
        """Tell whether both digests are known without fetching anything."""
        spec = self.context.task.spec
        self.data = opening.pinned(spec.data.source) or ""
        if spec.teacher.endpoint is not None:
            self.teacher = opening.server(spec.teacher.endpoint)
        elif spec.teacher.model is not None:
            self.teacher = opening.pinned(spec.teacher.model) or ""
        return bool(self.data and self.teacher)

    def fetch_data(self) -> Path:
        """Fetch the data; learns its digest."""
        if self.data_path is None:
            fetched = fetching.fetch_data(self.context, self.context.task.spec.data.source)
            self.data_path, self.data = fetched.path, fetched.digest
        return self.data_path

    def fetch_teacher(self) -> Path | None:
        """Fetch the teacher's weights, where it has some; learns their digest."""
        if self.teacher_path is None and self.context.task.spec.teacher.model is not None:
            fetched = opening.fetch(self.context)
            self.teacher_path, self.teacher = fetched.path, fetched.digest
        return self.teacher_path

    def fingerprint(self) -> str:
        """Return the labels' fingerprint, once both digests are known."""
        return fingerprints.label(self.context.task.spec, teacher=self.teacher, data=self.data)


def run(context: Context) -> Report:
    """Embed every different query and document with the teacher."""
    request = fingerprints.label_request(context.task.spec)
    workspace = context.workspace
    if done := workspace.answered(Stage.LABEL, request):
        return done.reused()
    inputs = Inputs(context)
    if inputs.known() and (done := workspace.find(Stage.LABEL, inputs.fingerprint(), request)):
        return done.reused()
    corpus = _read(context, inputs.fetch_data())
    inputs.fetch_teacher()
    if done := workspace.find(Stage.LABEL, inputs.fingerprint(), request):
        return done.reused()
    draft = workspace.draft(Stage.LABEL, inputs.fingerprint())
    corpora.write(corpus, draft.path)
    summary = _embed(context, draft, corpus, inputs)
    report = _report(draft, corpus, summary)
    digests = {"teacher": inputs.teacher, "data": inputs.data}
    return draft.commit(report, inputs=digests, request=request)


def _read(context: Context, path: Path) -> Corpus:
    data = context.task.spec.data
    rows = records.read(path, data.source.format, data.columns)
    corpus = corpora.collect(rows, data.max_records)
    log.info(
        "%d rows, %d queries, %d documents",
        len(corpus.records) + corpus.empty,
        len(corpus.queries),
        len(corpus.documents),
    )
    # Known before the teacher has worked for nothing; prepare looks again after filtering.
    sufficiency.check_pairs(corpus.pairs(), sum(1 for row in corpus.records if row[0] >= 0))
    return corpus


@dataclass(slots=True)
class Counter:
    """How far labelling is, over all shards and attempts."""

    context: Context
    total: int
    done: int = 0
    made: int = 0
    """By this process."""
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Count time from here: the teacher is loaded."""
        self.started = time.monotonic()
        self.tell()

    def add(self, texts: int, tokens: int) -> None:
        """Count a batch and tell; raises where the pod was asked to end."""
        self.done += texts
        self.made += texts
        self.tokens += tokens
        self.tell()
        self.context.check_stop()

    def tell(self) -> None:
        """Say how far it is."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        metrics = {
            "textsPerSecond": round(self.made / seconds, 1),
            "texts": self.done,
            "tokens": self.tokens,
        }
        self.context.progress.tell(self.done, self.total, metrics, "label")


def _embed(context: Context, draft: Draft, corpus: Corpus, inputs: Inputs) -> dict[str, Any]:
    """Make every shard that is missing; returns what label.json says."""
    texts = corpus.texts()
    size = _shard_size(context)
    plan = sharding.plan(len(corpus.queries), len(corpus.documents), size)
    present = [shard for shard in plan if sharding.is_whole(draft.path / shard.name, shard)]
    counter = Counter(context, len(texts), sum(shard.stop - shard.start for shard in present))
    spent = sum(sharding.load(draft.path / shard.name)[1] for shard in present)
    claims = Claims(draft.folder, context.task.job.uid)
    if len(present) < len(plan):
        teacher = opening.open_teacher(context, inputs.teacher_path, spent=spent)
        counter.begin()
        try:
            _make(plan, teacher, draft, _work(context, texts, counter, claims))
        finally:
            teacher.close()
    return _describe(context, draft, plan, corpus, inputs)


type Work = Callable[[Shard, Teacher], tuple[Embeddings, int]]


def _work(context: Context, texts: list[str], counter: Counter, claims: Claims) -> Work:
    prompts = context.task.spec.teacher.prompts

    def work(shard: Shard, teacher: Teacher) -> tuple[Embeddings, int]:
        def tell(count: int, tokens: int) -> None:
            claims.renew(shard)
            counter.add(count, tokens)

        prompt = prompts.query if shard.kind == corpora.QUERY else prompts.document
        embedded = teacher.embed(texts[shard.start : shard.stop], prompt=prompt, tell=tell)
        _check_finite(embedded.vectors, texts[shard.start : shard.stop])
        return embedded.vectors, embedded.tokens

    return work


def _make(plan: list[Shard], teacher: Teacher, draft: Draft, work: Work) -> None:
    claims = Claims(draft.folder, draft.workspace.job)
    for shard in sharding.open_ones(plan, draft.folder, claims):
        if shard is None:
            log.info("another job is labelling the rest of the same data; waiting for it")
            continue
        try:
            vectors, tokens = work(shard, teacher)
            _save(draft, shard, sharding.encode(vectors, tokens))
        finally:
            claims.release(shard)


def _save(draft: Draft, shard: Shard, content: bytes) -> None:
    path = draft.path / shard.name
    if path.exists() and not sharding.is_whole(path, shard):
        draft.drop(shard.name)
    draft.folder.create(shard.name, content)


def _shard_size(context: Context) -> int:
    """Return the texts of a shard, which must not depend on how far an attempt came.

    An endpoint's are as many as are under way at once, so that little that was paid for is lost.
    """
    endpoint = context.task.spec.teacher.endpoint
    if endpoint is None:
        return sharding.SIZE
    return context.task.spec.teacher.batch_size * endpoint.max_concurrency


def _check_finite(vectors: Embeddings, texts: list[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
    if len(bad):
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher gives NaN, infinity or only zeros for {len(bad)} texts, first for"
            f' "{texts[bad[0]][:80]}". Check the model (half precision overflows in some), or'
            " remove these texts",
        )


def _describe(
    context: Context, draft: Draft, plan: list[Shard], corpus: Corpus, inputs: Inputs
) -> dict[str, Any]:
    loaded = [sharding.load(draft.path / shard.name) for shard in plan]
    widths = {vectors.shape[1] for vectors, _ in loaded}
    if len(widths) != 1:
        raise BadInput(
            Reason.BAD_MODEL, f"The teacher's embeddings have different widths: {sorted(widths)}"
        )
    off = max(float(np.abs(np.linalg.norm(rows, axis=1) - 1).max()) for rows, _ in loaded)
    settings = {
        "dimension": widths.pop(),
        "normalized": off <= UNIT,
        "tokens": sum(tokens for _, tokens in loaded),
        "queries": len(corpus.queries),
        "documents": len(corpus.documents),
        "rows": len(corpus.records) + corpus.empty,
        "empty": corpus.empty,
        "shards": [shard.name for shard in plan],
        "teacher": inputs.teacher,
        "data": inputs.data,
        "prompts": context.task.spec.teacher.prompts.model_dump(),
        "max_length": context.task.spec.teacher.max_length,
    }
    draft.folder.write(SETTINGS, json.dumps(settings, indent=1).encode())
    return settings


def _report(draft: Draft, corpus: Corpus, settings: dict[str, Any]) -> Report:
    texts = len(corpus.queries) + len(corpus.documents)
    return Report(
        stage=Stage.LABEL,
        outcome="Done",
        fingerprint=draft.fingerprint,
        summary=(
            f"{texts} texts ({len(corpus.queries)} queries, {len(corpus.documents)} documents) have"
            f" embeddings of width {settings['dimension']}"
        ),
        usage=Usage(teacher_tokens=settings["tokens"]),
        facts={
            "texts": str(texts),
            "rows": str(settings["rows"]),
            "emptyRows": str(settings["empty"]),
            "teacherWidth": str(settings["dimension"]),
            "normalized": str(settings["normalized"]).lower(),
        },
    )
