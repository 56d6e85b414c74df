"""What the prepare stage of every component does alike: labels, files, data card and report."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from distill_api.names import Stage
from distill_api.status import Usage
from distill_api.wire import Report
from numpy.typing import NDArray
from pyarrow import parquet

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.errors import TryAgain
from distill_trainer.preparing import balance, card, filters, production, splits
from distill_trainer.preparing.balance import Numbers
from distill_trainer.preparing.kept import Kept
from distill_trainer.preparing.labelled import Labelled
from distill_trainer.preparing.production import Traffic
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
class Prepared:
    """What a component made of its labels; its own files are in the draft already."""

    card: dict[str, Any]
    """The data card, with `records`, `dropped` and `leakage` at least."""
    told: dict[str, Any]
    """What prepared.json says beside the records and the labels' fingerprint."""
    asked: Traffic
    """The training split's queries as production would ask them."""
    found: str
    """The report's summary."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """The component's own."""


def run(
    context: Context,
    label: Callable[[Context], Report],
    make: Callable[[Context, Draft, Output], Prepared],
) -> Report:
    """Turn labels into records that a student can learn from, or take those that are there.

    label: makes the labels again where the cache lost them. make: fills the draft.
    """
    labels, tokens = _labels(context, label)
    fingerprint = fingerprints.prepare(context.task, labels.fingerprint)
    if done := context.workspace.find(Stage.PREPARE, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.PREPARE, fingerprint)
    traffic = production.sample(context)
    made = make(context, draft, labels)
    if traffic is not None:
        seed = context.task.spec.training.seed
        made.card["production"] = production.compare(made.asked, traffic, seed=seed)
    counts = made.card["records"]
    told = {**made.told, "records": counts, "label_fingerprint": labels.fingerprint}
    for name, content in (("data_card.json", made.card), ("prepared.json", told)):
        draft.folder.write(name, json.dumps(content, indent=1).encode())
    report = Report(
        stage=Stage.PREPARE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=made.found,
        usage=Usage(teacher_tokens=tokens),
        facts=_facts(made.card) | dict(made.facts),
    )
    return draft.commit(report, inputs=labels.inputs)


def _labels(context: Context, label: Callable[[Context], Report]) -> tuple[Output, int | None]:
    """Return the labels, made again where the cache lost them, and tokens spent on that."""
    try:
        return context.workspace.output(Stage.LABEL), None
    except TryAgain as lost:
        log.warning("%s", lost)
        log.info("the labels are made again")
    tokens = label(context).usage.teacher_tokens
    return context.workspace.output(Stage.LABEL), tokens


def _facts(told: Mapping[str, Any]) -> dict[str, str]:
    dropped, leaked = told["dropped"], told["leakage"]
    lost = sum(count for reason, count in dropped.items() if reason != card.WITHOUT_TEXT)
    return {
        "records": str(sum(told["records"].values())),
        **{name: str(count) for name, count in told["records"].items()},
        "dropped": str(lost),
        "duplicates": str(dropped.get(filters.DUPLICATE, 0)),
        "unsure": str(dropped.get(filters.UNCERTAIN, 0)),
        "outliers": str(dropped.get(filters.OUTLIER, 0)),
        "shared": str(dropped.get(filters.LEAK, 0)),
        "leaks": str(leaked["queries"] + leaked["documents"]),
        **production.facts(told.get("production")),
    }


def summary(told: Mapping[str, Any], what: str = "records") -> str:
    """Say how many records each split has and how many were thrown away."""
    counts = told["records"]
    return (
        f"{counts['train']} {what} for train, {counts['validation']} for validation,"
        f" {counts['test']} for test; {_facts(told)['dropped']} thrown away"
    )


def draws(
    context: Context,
    own: Sequence[str],
    margins: Callable[[NDArray[np.int64]], Numbers],
    by: str = balance.BY_MARGIN,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return the rows that are written [written], and what the card says; some rows come again.

    own: split of each row. margins: of row numbers [rows], how easy the teacher finds them [rows];
    by: in words.
    """
    if not context.task.spec.data.balance_by_difficulty:
        return np.arange(len(own)), {}
    train = np.flatnonzero([split == splits.TRAIN for split in own])
    numbers = margins(train)
    found = balance.balance(numbers, seed=context.task.spec.training.seed)
    told = {**found.card(), "by": by, "histogram": card.histogram(numbers)}
    return balance.rows(len(own), train, found), {"balance": told}


def asked(texts: Sequence[str], groups: Sequence[str], own: Sequence[str]) -> Traffic:
    """Return the training split's queries as production would ask them; one entry for each row."""
    rows = [row for row, split in enumerate(own) if split == splits.TRAIN]
    named = [groups[row] for row in rows]
    return Traffic(
        [texts[row] for row in rows],
        [one.removeprefix("group:") if one.startswith("group:") else None for one in named],
    )


def write(
    draft: Draft,
    data: Labelled,
    kept: Kept,
    text_splits: Sequence[str | None],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write texts and records as Parquet, and arrays as NPY.

    text_splits: of each text, None where no record has it. arrays: [records, …], by file name.
    """
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
    for name, rows in arrays.items():
        np.save(draft.path / name, rows)


def told(data: Labelled) -> dict[str, Any]:
    """Return what prepared.json says of labelled texts."""
    known = data.settings
    names = ("queries", "documents", "teacher", "data", "max_length", "prompts")
    return {
        "texts": len(data.texts),
        "teacher_tokens": known["tokens"],
        **{name: known[name] for name in names},
    }
