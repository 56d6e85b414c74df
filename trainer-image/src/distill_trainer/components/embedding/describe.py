"""Fills the data card of an embedding: what the teacher's labels look like, and what leaks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_trainer.labelling.corpus import DOCUMENT, normal
from distill_trainer.labelling.shards import Embeddings
from distill_trainer.preparing import card, negatives, splits
from distill_trainer.preparing.kept import Kept, cosines
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.negatives import Ids


def describe(
    data: Labelled, kept: Kept, dropped: dict[str, int], mined: Ids, embeddings: Embeddings
) -> dict[str, Any]:
    """Fill the data card."""
    rows = [(normal(data.texts[query]), normal(data.texts[document]))
            for query, document in zip(kept.queries, kept.documents, strict=True)]  # fmt: skip
    lengths = {
        kind: card.spread([len(text) for own, text in zip(data.kinds, data.texts, strict=True)
                           if own == kind])
        for kind in ("query", "document")
    }  # fmt: skip
    train = np.array([split == splits.TRAIN for split in kept.splits])
    filled = (mined[train] != negatives.NONE).sum(axis=1)
    return {
        "rows": data.settings["rows"],
        "queries": data.settings["queries"],
        "documents": data.settings["documents"],
        **card.of_records(rows, kept.groups, kept.splits),
        "dropped": {card.WITHOUT_TEXT: data.settings["empty"], **dropped},
        "characters": lengths,
        "teacher_scores": {**card.spread(kept.scores), "histogram": card.histogram(kept.scores)},
        "random_scores": card.spread(_random_scores(embeddings, kept)),
        "teacher_agreement": agreement(data, kept, embeddings),
        "negatives": card.spread(filled),
        "close_queries": _close(embeddings, kept),
    }


def _close(embeddings: Embeddings, kept: Kept) -> dict[str, float]:
    """Tell how many test queries the teacher finds nearly in the training split."""
    own = np.array(kept.splits)
    test, train = (np.unique(kept.queries[own == name]) for name in (splits.TEST, splits.TRAIN))
    return card.close(
        negatives.unit(embeddings[test[:1000]]), negatives.unit(embeddings[train[:20_000]])
    )


def agreement(data: Labelled, kept: Kept, embeddings: Embeddings) -> float:
    """Return how often the teacher ranks a record's document first, among at most 20 000 others.

    Looks at 500 records at most, evenly spaced: a number for the card, not a verdict.
    """
    rows = np.unique(np.linspace(0, len(kept.queries) - 1, 500).astype(int))
    ids = np.flatnonzero([kind == DOCUMENT for kind in data.kinds])[:20_000]
    others = negatives.unit(embeddings[ids]) @ negatives.unit(embeddings[kept.queries[rows]]).T
    # Own documents tie with themselves; rounding must not turn that into a loss.
    return round(float((others.max(axis=0) <= kept.scores[rows] + 1e-5).mean()), 4)


def _random_scores(embeddings: Embeddings, kept: Kept) -> NDArray[np.float32]:
    """Return cosines of each query with another record's document, to compare with."""
    return cosines(embeddings, kept.queries, np.roll(kept.documents, 1))
