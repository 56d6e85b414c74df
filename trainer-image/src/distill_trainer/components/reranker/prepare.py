"""Prepare: throw away what teaches nothing, divide the rest by group, lay out the scored lists."""

from typing import Any, Final

import numpy as np
from distill_api.data import Data
from distill_api.names import Reason
from distill_api.teacher import Prompts
from distill_api.wire import Report, Task

from distill_trainer.artifacts import Output
from distill_trainer.components import prepared
from distill_trainer.components.prepared import Prepared
from distill_trainer.components.reranker import label
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling.corpus import normal
from distill_trainer.preparing import (
    balance,
    card,
    labelled,
    lists,
    selecting,
    splits,
    sufficiency,
)
from distill_trainer.preparing.kept import Kept, taken
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.lists import Ids, Scores
from distill_trainer.training import pairs, reranking
from distill_trainer.workspace import Draft

ALLOWED: Final[dict[str, frozenset[str | None]]] = {
    splits.TRAIN: frozenset({None, splits.TRAIN}),
    splits.VALIDATION: frozenset({None, splits.TRAIN, splits.VALIDATION}),
    splits.TEST: frozenset({None, *splits.ORDER}),
}
"""Splits that the other documents of a record's list may be of."""


def run(context: Context) -> Report:
    """Turn scored pairs into lists that a student can learn from."""
    return prepared.run(context, label.run, _make)


def _make(context: Context, draft: Draft, labels: Output) -> Prepared:
    data = labelled.read(labels.path)
    scored = lists.read(labels.path, data.settings, data.texts)
    settings = context.task.spec.data
    kept, dropped = _select(data, scored, settings)
    sufficiency.check_splits({name: kept.splits.count(name) for name in splits.ORDER}, dropped)
    text_splits = selecting.divide_texts(data, kept, settings)
    allowed = [ALLOWED[split] for split in kept.splits]
    others, scores = lists.table(scored, kept.queries, kept.scores, allowed, text_splits)
    _refuse_lonely(kept, others)
    rows, balanced = prepared.draws(
        context, kept.splits, lambda train: balance.margins(scores[train, 0], scores[train, 1:])
    )
    written = {"negatives.npy": others[rows], lists.SCORES: scores[rows]}
    prepared.write(draft, data, taken(kept, rows), text_splits, written)
    _refuse_recipe(context.task, draft)
    facts = describe(data, kept, dropped, (others, scores)) | balanced
    mean = facts["negatives"]["mean"]
    return Prepared(
        card=facts,
        told={"squashed": data.settings["scores"]["squashed"], **prepared.told(data)},
        asked=prepared.asked([data.texts[one] for one in kept.queries], kept.groups, kept.splits),
        found=f"{prepared.summary(facts)}; {mean:.1f} other documents a list",
        facts={
            "teacherAgreement": f"{facts['teacher_agreement']:.4f}",
            "negativesPerQuery": f"{mean:.2f}",
        },
    )


def _select(data: Labelled, scored: lists.Lists, settings: Data) -> tuple[Kept, dict[str, int]]:
    """Filter and divide by the score of each record's own document, sure by its share."""
    rows = np.flatnonzero(data.query_ids >= 0)
    queries, documents = data.query_ids[rows], data.document_ids[rows]
    own = lists.of_records(scored, queries, [normal(data.texts[one]) for one in documents])
    return selecting.select_by(data, own, lists.shares(scored, queries, own), settings)


def _refuse_recipe(task: Task, draft: Draft) -> None:
    """Refuse a recipe that these lists cannot serve before anything is trained.

    The train stage looks again: other recipes may share what is prepared. A sweep's trials differ.
    """
    recipe = task.spec.recipe.reranker
    if recipe is None or task.spec.sweep is not None:
        return
    lesson = reranking.Lesson(recipe, task.spec.training, Prompts())
    train, scores = pairs.load(draft.path, splits.TRAIN), reranking.scores_of(draft.path)
    reranking.check(lesson, *reranking.taught(lesson, train, scores))


def _refuse_lonely(kept: Kept, others: Ids) -> None:
    """Refuse splits in which no query has a document to compare its answer with."""
    has = (others != lists.NONE).any(axis=1)
    for split in splits.ORDER:
        rows = [row for row, own in enumerate(kept.splits) if own == split]
        if not has[rows].any():
            raise BadInput(
                Reason.BAD_DATA,
                f"No query of the {split} split has a second document that it could be ranked"
                " against: bring more documents, or raise data.candidates.perQuery",
            )


def describe(
    data: Labelled, kept: Kept, dropped: dict[str, int], laid: tuple[Ids, Scores]
) -> dict[str, Any]:
    """Fill the data card."""
    others, scores = laid
    rows = [(normal(data.texts[query]), normal(data.texts[document]))
            for query, document in zip(kept.queries, kept.documents, strict=True)]  # fmt: skip
    best = np.where(np.isnan(scores[:, 1:]), -np.inf, scores[:, 1:]).max(axis=1, initial=-np.inf)
    margins = (scores[:, :1] - scores[:, 1:])[others != lists.NONE]
    return {
        "rows": data.settings["rows"],
        "queries": data.settings["queries"],
        "documents": data.settings["documents"],
        **card.of_records(rows, kept.groups, kept.splits),
        "dropped": {card.WITHOUT_TEXT: data.settings["empty"], **dropped},
        "teacher_scores": {**card.spread(kept.scores), "histogram": card.histogram(kept.scores)},
        "label_scores": data.settings["scores"],
        "score_scale": "logit of 0 to 1" if data.settings["scores"]["squashed"] else "raw",
        "margins": card.spread(margins),
        "sources": data.settings["sources"],
        "teacher_agreement": round(float((kept.scores >= best).mean()), 4),
        "negatives": card.spread((others != lists.NONE).sum(axis=1)),
        "close_queries": card.close_by_letters(
            *([query for (query, _), own in zip(rows, kept.splits, strict=True) if own == split]
              for split in (splits.TEST, splits.TRAIN))
        ),
    }  # fmt: skip
