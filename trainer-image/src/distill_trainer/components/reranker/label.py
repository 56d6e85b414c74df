"""Label: the teacher scores a list of documents for each query; all jobs share the scores."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report
from numpy.typing import NDArray

from distill_trainer.components import labels, row_labels
from distill_trainer.components.labels import Inputs
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import candidates, shards
from distill_trainer.labelling import corpus as corpora
from distill_trainer.labelling.candidates import Entry, Source
from distill_trainer.labelling.corpus import Corpus
from distill_trainer.labelling.shards import Shard
from distill_trainer.preparing import card, sufficiency
from distill_trainer.sources import records
from distill_trainer.teachers import Tell, scoring
from distill_trainer.teachers.scoring import Pair, Scorer
from distill_trainer.workspace import Draft

SETTINGS: Final = "label.json"
SIZE: Final = 1024
"""Pairs of a shard. Batches are made inside a shard, so an interruption changes no number."""
SATURATED: Final = 0.5
"""Share of scores that are exactly 0 or 1 from which nothing can be told back."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What is scored."""

    corpus: Corpus
    entries: list[Entry]

    def pairs(self, shard: Shard) -> list[Pair]:
        """Return the texts of a shard's pairs."""
        queries, documents = list(self.corpus.queries), list(self.corpus.documents)
        chosen = self.entries[shard.start : shard.stop]
        return [(queries[entry.query], documents[entry.document]) for entry in chosen]


def run(context: Context) -> Report:
    """Score every pair of the lists with the teacher."""
    return labels.run(context, _read, _label)


def _label(context: Context, draft: Draft, corpus: Corpus, inputs: Inputs) -> Report:
    work = Work(corpus, candidates.choose(corpus, context.task.spec.data.candidates.per_query))
    corpora.write(corpus, draft.path)
    candidates.write(work.entries, len(corpus.queries), draft.path / candidates.LISTS)
    return _report(draft, _score(context, draft, work, inputs))


def _read(context: Context, path: Path) -> Corpus:
    data = context.task.spec.data
    rows = records.read(path, data.source.format, data.columns, data.max_records)
    corpus = corpora.collect(rows)
    log.info("%d queries, %d documents", len(corpus.queries), len(corpus.documents))
    pairs, groups = corpus.asked()
    sufficiency.check_pairs(len(set(pairs)), len(pairs), corpus.empty_rows, corpus.rejected)
    sufficiency.check_divided(sufficiency.Rows(pairs, groups, corpus.first), data)
    return corpus


def _score(context: Context, draft: Draft, work: Work, inputs: Inputs) -> dict[str, Any]:
    """Make every shard that is missing; returns what label.json says."""
    per_query = context.task.spec.data.candidates.per_query
    plan = shards.plan(len(work.entries), 0, row_labels.shard_size(context, SIZE, per_query))

    def opened(spent: int) -> Scorer:
        return scoring.open_scorer(context, inputs.teacher_path, spent=spent)

    def content(scorer: Scorer, shard: Shard, tell: Tell) -> bytes:
        pairs = work.pairs(shard)
        scored = scorer.score(pairs, tell)
        _check(scored.scores, pairs)
        return shards.encode(scored.scores[:, None], scored.tokens)

    row_labels.fill(context, draft, plan, opened, content)
    return _describe(context, draft, plan, work, inputs)


def _check(scores: NDArray[np.float32], pairs: list[Pair]) -> None:
    def shown(place: int) -> str:
        query, document = pairs[place]
        return f'"{query[:60]}" with "{document[:60]}"'

    row_labels.refuse(~np.isfinite(scores), "NaN or infinity", "pairs", shown)


def _describe(
    context: Context, draft: Draft, plan: list[Shard], work: Work, inputs: Inputs
) -> dict[str, Any]:
    loaded = [shards.load(draft.path / shard.name) for shard in plan]
    scores = np.concatenate([rows[:, 0] for rows, _ in loaded])
    asked = context.task.spec.teacher.endpoint is not None
    squashed = asked and bool(scores.min() >= 0 and scores.max() <= 1)
    if squashed:
        _refuse_saturated(scores)
    settings = {
        "tokens": sum(tokens for _, tokens in loaded),
        "pairs": len(work.entries),
        "queries": len(work.corpus.queries),
        "documents": len(work.corpus.documents),
        "rows": work.corpus.rows,
        "empty": work.corpus.empty,
        "shards": [shard.name for shard in plan],
        "teacher": inputs.teacher,
        "data": inputs.data,
        "prompts": context.task.spec.teacher.prompts.model_dump(),
        "max_length": context.task.spec.teacher.max_length,
        "scores": {"squashed": squashed, **card.spread(scores)},
        "sources": {
            source.value: sum(entry.source is source for entry in work.entries) for source in Source
        },
    }
    draft.folder.write(SETTINGS, json.dumps(settings, indent=1).encode())
    return settings


def _refuse_saturated(scores: NDArray[np.float32]) -> None:
    """Refuse probabilities that were rounded to 0 or 1: the order within is lost."""
    ends = float(((scores <= 0) | (scores >= 1)).mean())
    if ends > SATURATED:
        raise BadInput(
            Reason.BAD_MODEL,
            f"{ends:.0%} of the teacher's scores are exactly 0 or 1: the server squashes them and"
            " what is left tells nothing about the order. Have it answer with raw scores",
        )


def _report(draft: Draft, settings: dict[str, Any]) -> Report:
    spread = settings["scores"]
    squashed = ", squashed by the server" if spread["squashed"] else ""
    return Report(
        stage=Stage.LABEL,
        outcome="Done",
        fingerprint=draft.fingerprint,
        summary=(
            f"{settings['pairs']} pairs of {settings['queries']} queries have scores from"
            f" {spread['p0']:.3g} to {spread['p100']:.3g}{squashed}"
        ),
        usage=Usage(teacher_tokens=settings["tokens"]),
        facts={
            "pairs": str(settings["pairs"]),
            "texts": str(settings["queries"] + settings["documents"]),
            "rows": str(settings["rows"]),
            "emptyRows": str(settings["empty"]),
            "lowestScore": f"{spread['p0']:.6g}",
            "highestScore": f"{spread['p100']:.6g}",
            "squashed": str(spread["squashed"]).lower(),
        },
    )
