"""Prepare: throw away what teaches nothing, divide the rest by group, mine hard negatives."""

import json
import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from distill_api.names import Stage
from distill_api.sources import Data
from distill_api.status import Usage
from distill_api.wire import Report
from numpy.typing import NDArray
from pyarrow import parquet

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.errors import TryAgain
from distill_trainer.labelling.corpus import DOCUMENT, normal
from distill_trainer.labelling.shards import Embeddings
from distill_trainer.preparing import card, filters, labelled, negatives, splits, sufficiency
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.negatives import Anchor, Ids, Pool
from distill_trainer.stages import label
from distill_trainer.workspace import Draft

RECORD_SCHEMA: Final = pa.schema(
    [
        ("query_id", pa.int32()),
        ("document_id", pa.int32()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("teacher_score", pa.float32()),
    ]
)
TEXT_SCHEMA: Final = pa.schema(
    [("id", pa.int32()), ("kind", pa.string()), ("text", pa.string()), ("split", pa.string())]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The records that are left, by column."""

    queries: Ids
    documents: Ids
    groups: list[str]
    splits: list[str]
    scores: NDArray[np.float32]
    given: list[list[int]]
    """Negatives that the data names."""


def run(context: Context) -> Report:
    """Turn labelled texts into records that a student can learn from."""
    labels, tokens = _labels(context)
    fingerprint = fingerprints.prepare(context.task, labels.fingerprint)
    if done := context.workspace.find(Stage.PREPARE, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.PREPARE, fingerprint)
    data = labelled.read(labels.path)
    embeddings = labelled.join_shards(labels.path, data.settings, draft.path / "embeddings.npy")
    settings = context.task.spec.data
    kept, dropped = select(data, embeddings, settings)
    counts = {name: kept.splits.count(name) for name in splits.ORDER}
    sufficiency.check_splits(counts, dropped)
    text_splits = divide_texts(data, kept, settings)
    mined = _mine(context, data, kept, embeddings, text_splits)
    _write(draft, data, kept, text_splits, mined)
    facts = describe(data, kept, dropped, mined, embeddings)
    _write_json(draft, "data_card.json", facts)
    _write_json(draft, "prepared.json", _prepared(data, counts, labels))
    report = _report(fingerprint, counts, dropped, facts)
    used = report.model_copy(update={"usage": Usage(teacher_tokens=tokens)})
    return draft.commit(used, inputs=labels.inputs)


def _labels(context: Context) -> tuple[Output, int | None]:
    """Return the labels, made again where the cache lost them, and tokens spent on that."""
    try:
        return context.workspace.output(Stage.LABEL), None
    except TryAgain as lost:
        log.warning("%s", lost)
        log.info("the labels are made again")
    tokens = label.run(context).usage.teacher_tokens
    return context.workspace.output(Stage.LABEL), tokens


def select(data: Labelled, embeddings: Embeddings, settings: Data) -> tuple[Kept, dict[str, int]]:
    """Filter and divide; returns the kept records and how many were dropped for each reason."""
    rows = np.flatnonzero(data.query_ids >= 0)
    queries, documents = data.query_ids[rows], data.document_ids[rows]
    scores = cosines(embeddings, queries, documents)
    pairs = [(normal(data.texts[query]), normal(data.texts[document]))
             for query, document in zip(queries, documents, strict=True)]  # fmt: skip
    reasons = filters.reasons(_candidates(data, queries, documents, pairs, scores), settings.filter)
    groups = _groups([data.groups[row] for row in rows], pairs)
    assigned = [splits.assign(group, settings.splits) for group in groups]
    _mark_leaks(reasons, pairs, assigned)
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


def cosines(embeddings: Embeddings, queries: Ids, documents: Ids) -> NDArray[np.float32]:
    """Return the teacher's cosine of each pair, in parts so that little is held at once."""
    parts = [
        np.einsum(
            "ij,ij->i",
            negatives.unit(embeddings[queries[start : start + 4096]]),
            negatives.unit(embeddings[documents[start : start + 4096]]),
        )
        for start in range(0, len(queries), 4096)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


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


def _groups(named: list[str | None], pairs: list[tuple[str, str]]) -> list[str]:
    """Name each record's group: the data's own, else that of all records that share a text.

    Texts are compared after normalising, so that a change of case does not part two records.
    """
    known: dict[tuple[int, str], int] = {}
    ids = [
        tuple(known.setdefault((side, text), len(known)) for side, text in enumerate(pair))
        for pair in pairs
    ]
    roots = splits.connected((query, document) for query, document in ids)
    names = {number: text for (_, text), number in known.items()}
    return [
        f"group:{group}" if group is not None else f"text:{names[root]}"
        for group, root in zip(named, roots, strict=True)
    ]


def _mark_leaks(
    reasons: list[str | None], pairs: list[tuple[str, str]], assigned: list[str]
) -> None:
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
    anchors = _anchors(data, kept, rows)
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


def _anchors(data: Labelled, kept: Kept, rows: list[int]) -> list[Anchor]:
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
                item for item in kept.given[row] if item not in answers[int(kept.queries[row])]
            ),
        )
        for row in rows
    ]


def _write(
    draft: Draft, data: Labelled, kept: Kept, text_splits: list[str | None], mined: Ids
) -> None:
    ids = pa.array(range(len(data.texts)), pa.int32())
    texts = {"id": ids, "kind": data.kinds, "text": data.texts, "split": text_splits}
    records = {
        "query_id": kept.queries,
        "document_id": kept.documents,
        "group": kept.groups,
        "split": kept.splits,
        "teacher_score": kept.scores,
    }
    parquet.write_table(pa.table(texts, TEXT_SCHEMA), draft.path / "texts.parquet")
    parquet.write_table(pa.table(records, RECORD_SCHEMA), draft.path / "records.parquet")
    np.save(draft.path / "negatives.npy", mined)


def _write_json(draft: Draft, name: str, content: dict[str, Any]) -> None:
    draft.folder.write(name, json.dumps(content, indent=1).encode())


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
        "records": {name: kept.splits.count(name) for name in splits.ORDER},
        "groups": {
            name: len({group for group, own in zip(kept.groups, kept.splits, strict=True)
                       if own == name})
            for name in splits.ORDER
        },
        "dropped": {"without text": data.settings["empty"], **dropped},
        "characters": lengths,
        "teacher_scores": {**card.spread(kept.scores), "histogram": card.histogram(kept.scores)},
        "random_scores": card.spread(_random_scores(embeddings, kept)),
        "teacher_agreement": agreement(data, kept, embeddings),
        "negatives": card.spread(filled),
        "leakage": card.leakage(rows, kept.splits),
    }  # fmt: skip


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


def _prepared(data: Labelled, counts: dict[str, int], labels: Output) -> dict[str, Any]:
    known = data.settings
    return {
        "dimension": known["dimension"],
        "normalized": known["normalized"],
        "texts": len(data.texts),
        "queries": known["queries"],
        "documents": known["documents"],
        "records": counts,
        "teacher": known["teacher"],
        "data": known["data"],
        "label_fingerprint": labels.fingerprint,
        "teacher_tokens": known["tokens"],
        "max_length": known["max_length"],
        "prompts": known["prompts"],
    }


def _report(
    fingerprint: str, counts: dict[str, int], dropped: dict[str, int], facts: dict[str, Any]
) -> Report:
    lost = sum(dropped.values())
    leaked = facts["leakage"]
    return Report(
        stage=Stage.PREPARE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=(
            f"{counts['train']} records for train, {counts['validation']} for validation,"
            f" {counts['test']} for test; {lost} thrown away"
        ),
        facts={
            "records": str(sum(counts.values())),
            **{name: str(count) for name, count in counts.items()},
            "dropped": str(lost),
            "duplicates": str(dropped.get(filters.DUPLICATE, 0)),
            "unsure": str(dropped.get(filters.UNCERTAIN, 0)),
            "outliers": str(dropped.get(filters.OUTLIER, 0)),
            "shared": str(dropped.get(filters.LEAK, 0)),
            "leaks": str(leaked["queries"] + leaked["documents"]),
            "teacherAgreement": f"{facts['teacher_agreement']:.4f}",
            "negativesPerQuery": f"{facts['negatives'].get('mean', 0):.2f}",
        },
    )
