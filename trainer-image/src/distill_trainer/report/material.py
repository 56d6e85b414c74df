"""Everything that the report tells, gathered as plain values; nothing is computed here anew."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from distill_api.status import EvaluationStatus
from distill_api.wire import Task

from distill_trainer import fingerprints
from distill_trainer.measures import contest
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.served import Served
from distill_trainer.quantizing import note

SHOWN_MISTAKES = 20
EXCERPT = 240
"""Characters of a text that are shown."""

WORDS = {
    "R@1": "Recall@1",
    "R@10": "Recall@10",
    "nDCG@10": "nDCG@10",
    "AP": "MAP",
    "AP@1000": "MAP@1000",
    "RR": "MRR",
    "RR@10": "MRR@10",
}
"""Measures in ir-measures' notation → the names that papers use."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Outputs of earlier stages."""

    prepared: Path
    trained: Path
    quantized: Path | None = None
    """Where the student that is published was made smaller."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the page shows."""

    title: str
    made: str
    status: EvaluationStatus
    curve: Sequence[Mapping[str, Any]]
    latencies: Pair[tuple[float, ...]]
    """Seconds of the single requests."""
    widths: Mapping[int, float]
    """Score by width of the cut embedding."""
    mistakes: Sequence[Mapping[str, Any]]
    regressions: int
    card: Mapping[str, Any]
    """The data card."""
    lineage: Mapping[str, str]
    recipe: str
    """Student, losses and training as YAML."""
    trained: Path
    """Output of the train stage, where a sweep has left its trials."""
    quantization: Mapping[str, Any]
    """What the quantize stage measured; empty where there was none."""
    served: Served | None
    """What is served, under load; None where that was not asked for."""


def gather(task: Task, folders: Folders, found: Contest, status: EvaluationStatus) -> Material:
    """Gather the material of a task's report."""
    prepared, trained = folders.prepared, folders.trained
    told = json.loads((prepared / "prepared.json").read_text())
    lines = (trained / "curves.jsonl").read_text().splitlines()
    shown = contest.worst(found, SHOWN_MISTAKES)
    return Material(
        title=f"{task.job.namespace}/{task.job.name}",
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        status=status,
        curve=[json.loads(line) for line in lines],
        latencies=Pair(found.timings.student.latencies, found.timings.teacher.latencies),
        widths=dict(sorted(found.widths.items())),
        mistakes=[excerpts(contest.described(found, mistake)) for mistake in shown],
        regressions=int(contest.facts(found)["regressions"]),
        card=json.loads((prepared / "data_card.json").read_text()),
        lineage=lineage(task, told),
        recipe=recipe(task),
        trained=trained,
        quantization=note.read(folders.quantized),
        served=found.served,
    )


def lineage(task: Task, prepared: Mapping[str, Any]) -> dict[str, str]:
    """Say what the student is made from, in words."""
    made = fingerprints.lineage(task, {name: prepared[name] for name in ("teacher", "data")})
    return {
        "Teacher": made.teacher,
        "Data": made.data,
        "Recipe": made.recipe,
        "kubedistill": made.code_version,
        "Seed": str(made.seed),
    }


def recipe(task: Task) -> str:
    """Write student, losses and training as they stand in the object."""
    parts = {name: getattr(task.spec, name) for name in ("student", "recipe", "training")}
    plain = {
        name: part.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, part in parts.items()
    }
    return str(yaml.safe_dump(plain, sort_keys=False, width=90))


def excerpts(mistake: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the texts of a described mistake to what is shown."""
    return {
        name: _excerpt(value) if isinstance(value, str) else value
        for name, value in mistake.items()
    }


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1].rstrip() + "…"
