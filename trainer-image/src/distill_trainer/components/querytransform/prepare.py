"""Prepare: read the teacher's lists, throw away what adds nothing, divide by group, describe."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from distill_api.data import Data
from distill_api.wire import Report
from pyarrow import parquet

from distill_trainer.artifacts import Output
from distill_trainer.components import prepared
from distill_trainer.components.prepared import Prepared
from distill_trainer.components.querytransform import label, models
from distill_trainer.context import Context
from distill_trainer.labelling import asking, searching
from distill_trainer.labelling.corpus import normal
from distill_trainer.preparing import card, filters, selecting, splits, sufficiency
from distill_trainer.preparing.grouping import groups_of
from distill_trainer.texts import querying, transforms
from distill_trainer.texts.querying import Query, Wanted
from distill_trainer.texts.transforms import Read
from distill_trainer.workspace import Draft

UNREADABLE: Final = "no list of queries"
FEW: Final = "too few different queries"
REPEATED: Final = "the same answer again"
SEARCHES: Final = "searches.parquet"
"""Every query that is left, whatever the teacher wrote: what is judged on."""
RECORD_SCHEMA: Final = pa.schema(
    [
        *(field for field in asking.ANSWER_SCHEMA if field.name != "flaw"),
        ("query", pa.string()),
        ("turns", pa.list_(pa.string())),
        ("group", pa.string()),
        ("split", pa.string()),
    ]
)
SEARCH_SCHEMA: Final = pa.schema(
    [
        ("id", pa.int32()),
        ("query", pa.string()),
        ("turns", pa.list_(pa.string())),
        ("relevant", pa.list_(pa.int32())),
        ("group", pa.string()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the label stage left."""

    queries: list[Query]
    documents: list[str]
    relevant: list[dict[str, Any]]
    answers: pa.Table
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Divided:
    """The queries that are left, by number, and why rows were dropped."""

    relevant: dict[int, list[int]]
    """Documents that each one looks for."""
    groups: dict[int, str]
    splits: dict[int, str]
    pairs: list[tuple[str, str]]
    """Normalised query and document of each kept row."""
    assigned: list[str]
    """Split of each kept row."""
    dropped: dict[str, int]


def run(context: Context) -> Report:
    """Turn what the teacher wrote into records that a student can learn from."""
    return prepared.run(context, label.run, _make)


def _make(context: Context, draft: Draft, labels: Output) -> Prepared:
    data = read(labels.path)
    divided = divide(data, context.task.spec.data)
    kept, reasons, entries = select(data, divided, models.wanted(context.task))
    taught = {name: len(set(_column(kept, "question", name))) for name in splits.ORDER}
    counts = Counter(divided.splits.values())
    every = {**divided.dropped, **card.dropped(reasons)}
    sufficiency.check_splits({**taught, "test": counts["test"]}, every)
    parquet.write_table(kept, draft.path / "records.parquet", compression="zstd")
    parquet.write_table(_searches(data, divided), draft.path / SEARCHES)
    documents = {"id": range(len(data.documents)), "text": data.documents}
    table = pa.table(documents, searching.DOCUMENT_SCHEMA)
    parquet.write_table(table, draft.path / searching.DOCUMENTS)
    facts = describe(data, divided, kept, every)
    facts["expansions"] = entries
    return Prepared(
        card=facts,
        told=_told(data.settings),
        asked=prepared.asked(*_asked(data, divided)),
        found=prepared.summary(facts, "transforms"),
        facts={
            "unreadable": str(every.get(UNREADABLE, 0) + every.get(FEW, 0)),
            "entriesDropped": str(sum(entries["dropped"].values())),
            "cachedAsWritten": str(facts["cached"]),
        },
    )


def read(folder: Path) -> Labelled:
    """Read what the label stage left."""
    settings = json.loads((folder / label.SETTINGS).read_text(encoding="utf-8"))
    shards = [parquet.read_table(folder / name) for name in settings["shards"]]
    queries = parquet.read_table(folder / searching.QUERIES).to_pylist()
    return Labelled(
        queries=[Query(row["query"], tuple(row["turns"])) for row in queries],
        documents=parquet.read_table(folder / searching.DOCUMENTS)["text"].to_pylist(),
        relevant=parquet.read_table(folder / searching.RELEVANT).to_pylist(),
        answers=pa.concat_tables(shards),
        settings=settings,
    )


def divide(data: Labelled, settings: Data) -> Divided:
    """Filter the rows with a query and divide them by group, whatever the teacher wrote."""
    rows = data.relevant
    whole = [searching.whole(query) for query in data.queries]
    texts = [normal(text) for text in data.documents]
    pairs = [(whole[row["query_id"]], texts[row["document_id"]]) for row in rows]
    reasons = _row_reasons(data, pairs, settings)
    groups = groups_of([row["group"] for row in rows], pairs)
    assigned = [splits.assign(group, settings.splits) for group in groups]
    selecting.mark_leaks(reasons, pairs, assigned)
    left = [place for place, reason in enumerate(reasons) if reason is None]
    relevant: dict[int, list[int]] = {}
    for place in left:
        relevant.setdefault(rows[place]["query_id"], []).append(rows[place]["document_id"])
    return Divided(
        relevant=relevant,
        groups={rows[place]["query_id"]: groups[place] for place in left},
        splits={rows[place]["query_id"]: assigned[place] for place in left},
        pairs=[pairs[place] for place in left],
        assigned=[assigned[place] for place in left],
        dropped=card.dropped(reasons),
    )


def _row_reasons(data: Labelled, pairs: list[tuple[str, str]], settings: Data) -> list[str | None]:
    """Return why each row is thrown away, or None."""
    limits = settings.filter
    seen: set[tuple[str, str]] = set()
    found: list[str | None] = []
    for row, pair in zip(data.relevant, pairs, strict=True):
        texts = (data.queries[row["query_id"]].text, data.documents[row["document_id"]])
        lengths = [len(text) for text in texts]
        reason = None
        if limits.remove_duplicates and pair in seen:
            reason = filters.DUPLICATE
        elif min(lengths) < limits.min_characters:
            reason = filters.SHORT
        elif max(lengths) > limits.max_characters:
            reason = filters.LONG
        seen.add(pair)
        found.append(reason)
    return found


def select(
    data: Labelled, divided: Divided, wanted: Wanted
) -> tuple[pa.Table, list[str | None], dict[str, Any]]:
    """Read the answers to the kept queries.

    Returns the records; why each answer is not one, or None; and what became of the entries.
    """
    found, reasons = list[dict[str, Any]](), list[str | None]()
    kept, dropped = 0, Counter[str]()
    repeated: set[tuple[int, tuple[str, ...]]] = set()
    for row in data.answers.to_pylist():
        if (number := row["question"]) not in divided.relevant:
            continue
        told = transforms.read(row["answer"], data.queries[number], wanted)
        reason = row.pop("flaw") or _flaw(told)
        if reason is None:
            kept += len(told.kept)
            dropped.update(entry.value for entry in told.dropped)
            reason = REPEATED if (number, told.kept) in repeated else None
            repeated.add((number, told.kept))
        reasons.append(reason)
        if reason is None:
            found.append(_record(row, told, data.queries[number], divided))
    entries = {"kept": kept, "dropped": dict(dropped.most_common())}
    return pa.Table.from_pylist(found, RECORD_SCHEMA), reasons, entries


def _flaw(told: Read) -> str | None:
    if told.unreadable:
        return UNREADABLE
    return FEW if told.few else None


def _record(row: dict[str, Any], told: Read, query: Query, divided: Divided) -> dict[str, Any]:
    """Return what is learnt of an answer; its tokens only where it is kept as it was written."""
    text = querying.written(told.kept)
    as_written = text == " ".join(row["answer"].split()) and row["thoughts"] is None
    if not as_written:
        row |= {"token_ids": None, "top_ids": None, "top_logprobs": None, "tail": None}
    number = row["question"]
    # The student is to be fast: it learns what is asked for, without the reasoning before it.
    return row | {
        "answer": text,
        "thoughts": None,
        "query": query.text,
        "turns": list(query.turns),
        "group": divided.groups[number],
        "split": divided.splits[number],
    }


def _searches(data: Labelled, divided: Divided) -> pa.Table:
    rows = [
        {
            "id": number,
            "query": data.queries[number].text,
            "turns": list(data.queries[number].turns),
            "relevant": sorted(set(documents)),
            "group": divided.groups[number],
            "split": divided.splits[number],
        }
        for number, documents in sorted(divided.relevant.items())
    ]
    return pa.Table.from_pylist(rows, SEARCH_SCHEMA)


def _asked(data: Labelled, divided: Divided) -> tuple[list[str], list[str], list[str]]:
    numbers = sorted(divided.relevant)
    return (
        [data.queries[number].text for number in numbers],
        [divided.groups[number] for number in numbers],
        [divided.splits[number] for number in numbers],
    )


def _column(table: pa.Table, name: str, split: str) -> list[Any]:
    values = zip(table[name].to_pylist(), table["split"].to_pylist(), strict=True)
    return [value for value, own in values if own == split]


def describe(
    data: Labelled, divided: Divided, kept: pa.Table, dropped: Mapping[str, int]
) -> dict[str, Any]:
    """Fill the data card."""
    own = kept["split"].to_pylist()
    by_split = Counter(divided.splits.values())
    return {
        "rows": data.settings["rows"],
        "queries": len(divided.relevant),
        "documents": len(data.documents),
        "answers": data.settings["answers"],
        "records": {name: own.count(name) for name in splits.ORDER},
        "questions": {name: by_split[name] for name in splits.ORDER},
        "groups": {
            name: len({divided.groups[number] for number, split in divided.splits.items()
                       if split == name})
            for name in splits.ORDER
        },
        "dropped": {card.WITHOUT_TEXT: data.settings["empty"], **dropped},
        "characters": {
            "query": card.spread([len(data.queries[number].text) for number in divided.relevant]),
            "document": card.spread([len(text) for text in data.documents]),
            "answer": card.spread([len(text) for text in kept["answer"].to_pylist()]),
        },
        "top_logprobs": data.settings["topLogprobs"],
        "cached": sum(bool(ids) for ids in kept["top_ids"].to_pylist()),
        "chat_template": data.settings["template"],
        "leakage": card.leakage(divided.pairs, divided.assigned),
    }  # fmt: skip


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = ("tokenizer", "template", "teacher", "data", "sampling", "max_length", "topLogprobs")
    return {"teacher_tokens": settings["tokens"], **{name: settings[name] for name in names}}
