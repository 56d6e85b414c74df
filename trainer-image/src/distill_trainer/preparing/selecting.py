"""Chooses the records that are left and divides them: filters, groups, splits, leaks."""

from dataclasses import replace

import numpy as np
from distill_api.data import Data
from numpy.typing import NDArray

from distill_trainer.labelling.corpus import normal
from distill_trainer.preparing import card, filters, splits
from distill_trainer.preparing.grouping import groups_of
from distill_trainer.preparing.kept import Kept
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.negatives import Ids


def select_by(
    data: Labelled,
    scores: NDArray[np.float32],
    confidences: NDArray[np.float32],
    settings: Data,
) -> tuple[Kept, dict[str, int]]:
    """Filter and divide the records that have a query; returns the kept, and why others went.

    scores: the teacher's, [records with a query]. confidences: alike, between 0 and 1, what
    filter.minTeacherConfidence is compared with.
    """
    rows = np.flatnonzero(data.query_ids >= 0)
    queries, documents = data.query_ids[rows], data.document_ids[rows]
    pairs = [(normal(data.texts[query]), normal(data.texts[document]))
             for query, document in zip(queries, documents, strict=True)]  # fmt: skip
    candidates = _candidates(data, queries, documents, pairs, scores)
    reasons = filters.reasons(replace(candidates, confidences=confidences), settings.filter)
    groups = groups_of([data.groups[row] for row in rows], pairs)
    assigned = [splits.assign(group, settings.splits) for group in groups]
    mark_leaks(reasons, pairs, assigned)
    left = [index for index, reason in enumerate(reasons) if reason is None]
    kept = Kept(
        queries=queries[left],
        documents=documents[left],
        groups=[groups[index] for index in left],
        splits=[assigned[index] for index in left],
        scores=scores[left],
        given=[data.negatives[rows[index]] for index in left],
    )
    return kept, card.dropped(reasons)


def _candidates(
    data: Labelled,
    queries: Ids,
    documents: Ids,
    pairs: list[tuple[str, str]],
    scores: NDArray[np.float32],
) -> filters.Candidates:
    lengths = [(len(data.texts[query]), len(data.texts[document]))
               for query, document in zip(queries, documents, strict=True)]  # fmt: skip
    return filters.Candidates(
        queries=[query for query, _ in pairs],
        documents=[document for _, document in pairs],
        lengths=np.array(lengths, dtype=np.int64).reshape(-1, 2),
        scores=scores,
    )


def mark_leaks(
    reasons: list[str | None], pairs: list[tuple[str, str]], assigned: list[str]
) -> None:
    """Mark the records that share a text with a split that is judged on; reasons: in place."""
    left = [index for index, reason in enumerate(reasons) if reason is None]
    leaking = splits.leaks([pairs[index] for index in left], [assigned[index] for index in left])
    for index, leaks in zip(left, leaking, strict=True):
        if leaks:
            reasons[index] = filters.LEAK


def divide_texts(data: Labelled, kept: Kept, settings: Data) -> list[str | None]:
    """Return the split of each text; a document of several goes to the one that is judged on.

    A document without a query follows its group; None for what no kept record or group names.
    """
    found: list[str | None] = [None] * len(data.texts)
    for row in np.flatnonzero(data.query_ids < 0):
        document, group = int(data.document_ids[row]), data.groups[row]
        name = f"group:{group}" if group is not None else f"text:{normal(data.texts[document])}"
        found[document] = splits.assign(name, settings.splits)
    for split in splits.ORDER:  # test is written last and stays
        for query, document, own in zip(kept.queries, kept.documents, kept.splits, strict=True):
            if own == split:
                found[query] = found[document] = split
    return found
