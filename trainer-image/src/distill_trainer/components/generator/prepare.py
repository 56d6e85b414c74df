"""Prepare: throw away answers that teach nothing, divide the rest by group, describe the data."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from distill_api.data import Data, Filter
from distill_api.names import Reason
from distill_api.wire import Report
from pyarrow import parquet

from distill_trainer.artifacts import Output
from distill_trainer.components import prepared
from distill_trainer.components.generator import label
from distill_trainer.components.prepared import Prepared
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import asking
from distill_trainer.labelling.corpus import normal
from distill_trainer.preparing import balance, card, filters, selecting, splits, sufficiency
from distill_trainer.preparing.balance import Numbers
from distill_trainer.preparing.grouping import groups_of
from distill_trainer.workspace import Draft

REPEATED: Final = "the same answer again"
SCHEMA: Final = pa.schema(
    [
        *(field for field in asking.ANSWER_SCHEMA if field.name != "flaw"),
        ("query", pa.string()),
        ("context", pa.string()),
        ("reference", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions and answers of the label stage."""

    questions: list[dict[str, Any]]
    answers: pa.Table
    settings: dict[str, Any]


def run(context: Context) -> Report:
    """Turn a teacher's answers into records that a student can learn from."""
    return prepared.run(context, label.run, _make)


def _make(context: Context, draft: Draft, labels: Output) -> Prepared:
    data = read(labels.path)
    kept, dropped = select(data, context.task.spec.data)
    sufficiency.check_splits({name: _questions(kept, name) for name in splits.ORDER}, dropped)
    own = kept["split"].to_pylist()
    rows, balanced = prepared.draws(
        context, own, lambda train: _known(kept.take(pa.array(train))), balance.BY_LIKELIHOOD
    )
    table = kept.take(pa.array(rows))
    parquet.write_table(table, draft.path / "records.parquet", compression="zstd")
    facts = describe(data, kept, dropped) | balanced
    questions = _each_question(kept)
    return Prepared(
        card=facts,
        told=_told(data.settings),
        asked=prepared.asked(
            *(questions[name].to_pylist() for name in ("query", "group", "split"))
        ),
        found=prepared.summary(facts, "answers"),
    )


def _each_question(kept: pa.Table) -> pa.Table:
    """Return the row of each question's first answer."""
    numbers = kept["question"].to_pylist()
    first = {number: row for row, number in reversed(list(enumerate(numbers)))}
    return kept.take(pa.array(sorted(first.values()), pa.int64()))


def read(folder: Path) -> Labelled:
    """Read what the label stage left."""
    settings = json.loads((folder / label.SETTINGS).read_text(encoding="utf-8"))
    shards = [parquet.read_table(folder / name) for name in settings["shards"]]
    questions = parquet.read_table(folder / asking.QUESTIONS).to_pylist()
    return Labelled(questions, pa.concat_tables(shards), settings)


def select(data: Labelled, settings: Data) -> tuple[pa.Table, dict[str, int]]:
    """Filter and divide; returns the kept answers and how many were dropped for each reason."""
    numbers = data.answers["question"].to_pylist()
    asked = [data.questions[number] for number in numbers]
    texts = data.answers["answer"].to_pylist()
    pairs = [(normal(one["query"]), normal(one["context"])) for one in asked]
    reasons = _reasons(data, asked, pairs, texts, settings)
    groups = groups_of([one["group"] for one in asked], pairs)
    assigned = [splits.assign(group, settings.splits) for group in groups]
    selecting.mark_leaks(reasons, pairs, assigned)
    rows = [place for place, reason in enumerate(reasons) if reason is None]
    table = data.answers.drop_columns(["flaw"]).take(pa.array(rows, pa.int64()))
    for name in ("query", "context", "reference"):
        table = table.append_column(name, pa.array([asked[row][name] for row in rows], pa.string()))
    for name, values in (("group", groups), ("split", assigned)):
        table = table.append_column(name, pa.array([values[row] for row in rows], pa.string()))
    return table.cast(SCHEMA), card.dropped(reasons)


def _reasons(
    data: Labelled,
    asked: list[dict[str, Any]],
    pairs: list[tuple[str, str]],
    texts: list[str],
    settings: Data,
) -> list[str | None]:
    """Return why each answer is thrown away, or None: flaws first, then the spec's filter."""
    found: list[str | None] = data.answers["flaw"].to_pylist()
    limits = settings.filter
    seen: set[tuple[str, str, str]] = set()
    first: dict[tuple[str, str], int] = {}
    for place, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
        if found[place] is not None:
            continue
        lengths = [len(asked[place]["query"]), len(asked[place]["context"]), len(text)]
        number = data.answers["question"][place].as_py()
        if min(lengths) < limits.min_characters:
            found[place] = filters.SHORT
        elif max(lengths) > limits.max_characters:
            found[place] = filters.LONG
        elif limits.remove_duplicates and first.setdefault(pair, number) != number:
            found[place] = filters.DUPLICATE
        elif limits.remove_duplicates and (*pair, normal(text)) in seen:
            found[place] = REPEATED
        seen.add((*pair, normal(text)))
    _mark_unsure(found, data.answers, limits)
    return found


def _mark_unsure(found: list[str | None], answers: pa.Table, limits: Filter) -> None:
    """Mark answers that the teacher itself finds unlikely, by the mean over their tokens."""
    if limits.min_teacher_confidence is None and limits.outlier_deviations is None:
        return
    left = np.flatnonzero([reason is None for reason in found])
    told = np.zeros(len(found), dtype=np.float32)
    told[left] = _known(answers.take(pa.array(left)))
    filters.by_score(found, told, np.exp(told), limits)


def _known(answers: pa.Table) -> Numbers:
    """Likelihoods of some answers, all of them; refuses those that have none."""
    found = likelihoods(answers)
    if np.isnan(found).any():
        raise BadInput(
            Reason.BAD_RECIPE,
            "data.balanceByDifficulty, filter.minTeacherConfidence and outlierDeviations go by the"
            " teacher's probabilities of its answers, and these labels have none: set"
            " teacher.sampling.topLogprobs to 1 or more with a teacher.model, or remove them",
        )
    return found


def likelihoods(answers: pa.Table) -> Numbers:
    """Mean log-probability of each answer's tokens, NaN where nothing is cached: [answers].

    A token that is not among the cached ones counts with the mass of all others, its upper bound.
    """
    found = np.full(len(answers), np.nan, dtype=np.float32)
    columns = (answers[name] for name in ("token_ids", "top_ids", "top_logprobs", "tail"))
    for row, (ids, top, logprobs, tail) in enumerate(zip(*columns, strict=True)):
        if not (ids.is_valid and top.is_valid and len(ids)):
            continue
        written = np.asarray(ids.values)[:, None]
        chosen = np.asarray(top.values).reshape(len(written), -1) == written
        known = np.asarray(logprobs.values, dtype=np.float32).reshape(chosen.shape)
        inside = np.where(chosen, known, -np.inf).max(axis=1)
        outside = np.asarray(tail.values, dtype=np.float32)
        found[row] = np.where(chosen.any(axis=1), inside, outside).mean()
    return found


def _questions(kept: pa.Table, split: str) -> int:
    """Count the different questions of a split."""
    rows = zip(kept["question"].to_pylist(), kept["split"].to_pylist(), strict=True)
    return len({question for question, own in rows if own == split})


def describe(data: Labelled, kept: pa.Table, dropped: dict[str, int]) -> dict[str, Any]:
    """Fill the data card."""
    columns = {name: kept[name].to_pylist() for name in ("query", "context", "answer", "group")}
    own = kept["split"].to_pylist()
    pairs = [(normal(q), normal(c)) for q, c in zip(columns["query"], columns["context"], strict=True)]  # fmt: skip  # noqa: E501
    tokens = {name: np.array(kept[name].to_pylist()) for name in ("prompt_tokens", "tokens")}
    return {
        "rows": data.settings["rows"],
        "queries": len(set(columns["query"])),
        "documents": len(set(columns["context"])),
        "answers": data.settings["answers"],
        **card.of_records(pairs, columns["group"], own),
        "questions": {name: _questions(kept, name) for name in splits.ORDER},
        "dropped": {card.WITHOUT_TEXT: data.settings["empty"], **dropped},
        "characters": {
            name: card.spread([len(text) for text in columns[name]])
            for name in ("query", "context", "answer")
        },
        "tokens": {
            "prompt": card.spread(tokens["prompt_tokens"]),
            "answer": card.spread(tokens["tokens"]),
        },
        "references": sum(one is not None for one in kept["reference"].to_pylist()),
        "top_logprobs": data.settings["topLogprobs"],
        "tail_mass": _tail_mass(kept),
        "chat_template": data.settings["template"],
        "close_queries": card.close_by_letters(
            *([query for (query, _), split in zip(pairs, own, strict=True) if split == wanted]
              for wanted in (splits.TEST, splits.TRAIN))
        ),
    }  # fmt: skip


def _tail_mass(kept: pa.Table) -> dict[str, float]:
    """Spread of the probability that the cached top-k leaves out; empty without a cache."""
    tails = [np.exp(one) for one in kept["tail"].to_pylist() if one]
    return card.spread(np.concatenate(tails)) if tails else {}


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    names = ("tokenizer", "template", "teacher", "data", "sampling", "max_length", "topLogprobs")
    return {"teacher_tokens": settings["tokens"], **{name: settings[name] for name in names}}
