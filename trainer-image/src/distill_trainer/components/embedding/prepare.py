"""Prepare: throw away what teaches nothing, divide the rest by group, mine hard negatives."""

import numpy as np
from distill_api.data import Data
from distill_api.wire import Report
from numpy.typing import NDArray

from distill_trainer.artifacts import Output
from distill_trainer.components import prepared
from distill_trainer.components.embedding import label
from distill_trainer.components.embedding.describe import describe
from distill_trainer.components.prepared import Prepared
from distill_trainer.context import Context
from distill_trainer.labelling.corpus import DOCUMENT, normal
from distill_trainer.labelling.shards import Embeddings
from distill_trainer.preparing import balance, labelled, negatives, selecting, splits, sufficiency
from distill_trainer.preparing.balance import Numbers
from distill_trainer.preparing.kept import Kept, cosines, taken
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.negatives import Anchor, Ids, Pool
from distill_trainer.workspace import Draft


def run(context: Context) -> Report:
    """Turn labelled texts into records that a student can learn from."""
    return prepared.run(context, label.run, _make)


def _make(context: Context, draft: Draft, labels: Output) -> Prepared:
    data = labelled.read(labels.path)
    embeddings = labelled.join_shards(labels.path, data.settings, draft.path / "embeddings.npy")
    settings = context.task.spec.data
    kept, dropped = select(data, embeddings, settings)
    sufficiency.check_splits({name: kept.splits.count(name) for name in splits.ORDER}, dropped)
    text_splits = selecting.divide_texts(data, kept, settings)
    mined = _mine(context, data, kept, embeddings, text_splits)
    rows, balanced = prepared.draws(
        context, kept.splits, lambda train: _margins(kept, mined, embeddings, train)
    )
    written = {"negatives.npy": mined[rows]}
    prepared.write(draft, data, taken(kept, rows), text_splits, written)
    facts = describe(data, kept, dropped, mined, embeddings) | balanced
    known = {name: data.settings[name] for name in ("dimension", "normalized")}
    return Prepared(
        card=facts,
        told={**known, **prepared.told(data)},
        asked=prepared.asked([data.texts[one] for one in kept.queries], kept.groups, kept.splits),
        found=prepared.summary(facts),
        facts={
            "teacherAgreement": f"{facts['teacher_agreement']:.4f}",
            "negativesPerQuery": f"{facts['negatives'].get('mean', 0):.2f}",
        },
    )


def _margins(kept: Kept, mined: Ids, embeddings: Embeddings, train: NDArray[np.int64]) -> Numbers:
    """Return the teacher's margins of some rows over their mined negatives."""
    scores = np.full(mined[train].shape, np.nan, dtype=np.float32)
    for column in range(mined.shape[1]):
        has = mined[train, column] != negatives.NONE
        rows = train[has]
        scores[has, column] = cosines(embeddings, kept.queries[rows], mined[rows, column])
    return balance.margins(kept.scores[train], scores)


def select(data: Labelled, embeddings: Embeddings, settings: Data) -> tuple[Kept, dict[str, int]]:
    """Filter and divide; returns the kept records and how many were dropped for each reason."""
    rows = np.flatnonzero(data.query_ids >= 0)
    scores = cosines(embeddings, data.query_ids[rows], data.document_ids[rows])
    return selecting.select_by(data, scores, scores, settings)


def _mine(
    context: Context,
    data: Labelled,
    kept: Kept,
    embeddings: Embeddings,
    text_splits: list[str | None],
) -> Ids:
    """Mine negatives for the train records, among train documents; [records, k]."""
    settings = context.task.spec.data.hard_negatives
    rows = [index for index, split in enumerate(kept.splits) if split == splits.TRAIN]
    anchors = _anchors(data, kept, rows, text_splits)
    ids = np.array(
        [index for index, split in enumerate(text_splits)
         if split == splits.TRAIN and data.kinds[index] == DOCUMENT],
        dtype=np.int32,
    )  # fmt: skip
    pool = Pool(ids, negatives.unit(embeddings[ids]))

    def tell(done: int, total: int) -> None:
        context.progress.tell(done, total, {"queries": done}, "prepare")
        context.check_stop()

    mined = negatives.mine(anchors, embeddings, pool, settings, tell)
    table = np.full((len(kept.splits), mined.shape[1]), negatives.NONE, dtype=np.int32)
    table[rows] = mined
    return table


def _anchors(
    data: Labelled, kept: Kept, rows: list[int], text_splits: list[str | None]
) -> list[Anchor]:
    """Return what is known of records that need negatives.

    A negative that the data names is left out where a split that is judged on has it.
    """
    same: dict[str, set[int]] = {}
    for index, (kind, text) in enumerate(zip(data.kinds, data.texts, strict=True)):
        if kind == DOCUMENT:
            same.setdefault(normal(text), set()).add(index)
    twins = {index: frozenset(group) for group in same.values() for index in group}
    # All records count, also dropped ones: a document that answers is never a negative.
    asked = data.query_ids >= 0
    answers = negatives.known_answers(
        data.query_ids[asked].tolist(), data.document_ids[asked].tolist(), twins
    )
    return [
        Anchor(
            query=int(kept.queries[row]),
            positive=float(kept.scores[row]),
            known=answers[int(kept.queries[row])],
            given=tuple(
                item
                for item in kept.given[row]
                if item not in answers[int(kept.queries[row])]
                and text_splits[item] in {None, splits.TRAIN}
            ),
        )
        for row in rows
    ]
