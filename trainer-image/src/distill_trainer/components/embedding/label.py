"""Label: the teacher reads every text once; its embeddings are kept for all jobs that need them."""

import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report

from distill_trainer.components import labels, row_labels
from distill_trainer.components.labels import Inputs
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import corpus as corpora
from distill_trainer.labelling import shards as sharding
from distill_trainer.labelling.corpus import Corpus
from distill_trainer.labelling.shards import Embeddings, Shard
from distill_trainer.preparing import sufficiency
from distill_trainer.sources import records
from distill_trainer.teachers import Teacher, Tell, opening
from distill_trainer.workspace import Draft

SETTINGS: Final = "label.json"
UNIT: Final = 1e-3
"""Embeddings whose norms differ from 1 by no more count as normalised."""

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Embed every different query and document with the teacher."""
    return labels.run(context, _read, _label)


def _label(context: Context, draft: Draft, corpus: Corpus, inputs: Inputs) -> Report:
    corpora.write(corpus, draft.path)
    return _report(draft, corpus, _embed(context, draft, corpus, inputs))


def _read(context: Context, path: Path) -> Corpus:
    data = context.task.spec.data
    rows = records.read(path, data.source.format, data.columns, data.max_records)
    corpus = corpora.collect(rows)
    log.info(
        "%d rows, %d queries, %d documents",
        corpus.rows,
        len(corpus.queries),
        len(corpus.documents),
    )
    # Known before the teacher has worked for nothing; prepare looks again after filtering.
    pairs, groups = corpus.asked()
    sufficiency.check_pairs(len(set(pairs)), len(pairs), corpus.empty_rows, corpus.rejected)
    sufficiency.check_divided(sufficiency.Rows(pairs, groups, corpus.first), data)
    return corpus


def _embed(context: Context, draft: Draft, corpus: Corpus, inputs: Inputs) -> dict[str, Any]:
    """Make every shard that is missing; returns what label.json says."""
    texts, prompts = corpus.texts(), context.task.spec.teacher.prompts
    size = row_labels.shard_size(context, sharding.SIZE, context.task.spec.teacher.batch_size)
    plan = sharding.plan(len(corpus.queries), len(corpus.documents), size)

    def opened(spent: int) -> Teacher:
        return opening.open_teacher(context, inputs.teacher_path, spent=spent)

    def content(teacher: Teacher, shard: Shard, tell: Tell) -> bytes:
        prompt = prompts.query if shard.kind == corpora.QUERY else prompts.document
        asked = texts[shard.start : shard.stop]
        embedded = teacher.embed(asked, prompt=prompt, tell=tell)
        _check(embedded.vectors, asked)
        return sharding.encode(embedded.vectors, embedded.tokens)

    row_labels.fill(context, draft, plan, opened, content)
    return _describe(context, draft, plan, corpus, inputs)


def _check(vectors: Embeddings, texts: list[str]) -> None:
    bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
    what = "NaN, infinity or only zeros"
    row_labels.refuse(bad, what, "texts", lambda place: f'"{texts[place][:80]}"')


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
        "rows": corpus.rows,
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
