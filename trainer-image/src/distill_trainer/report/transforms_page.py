"""Writes the report of a query transform: one HTML file without anything from outside."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from distill_api.status import EvaluationStatus
from distill_api.wire import Task

from distill_trainer.measures import lifting
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.lifting import Match
from distill_trainer.report import (
    answers_page,
    data_section,
    material,
    pictures,
    quantization_section,
    served_section,
    sweep_section,
)
from distill_trainer.report.material import Folders

TEMPLATE = Path(__file__).with_name("transforms_page.html.j2")
SHOWN = 20


def write(path: Path, task: Task, folders: Folders, match: Match, status: EvaluationStatus) -> None:
    """Write the page; texts of the data are escaped, as nobody knows what they hold."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(style=answers_page.style(), status=status, **_told(task, folders, match))
    path.write_text(page, encoding="utf-8")


def _told(task: Task, folders: Folders, match: Match) -> dict[str, Any]:
    told = json.loads((folders.prepared / "prepared.json").read_text())
    card = json.loads((folders.prepared / "data_card.json").read_text())
    lines = (folders.trained / "curves.jsonl").read_text().splitlines()
    latencies = Pair(match.timings.student.latencies, match.timings.teacher.latencies)
    return {
        "title": f"{task.job.namespace}/{task.job.name}",
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "facts": lifting.facts(match),
        "retained": match.retentions[lifting.LIFT],
        "confidence": task.spec.evaluation.confidence,
        "replaces": match.bench.replaces,
        "worst": [material.excerpts(one) for one in lifting.worst(match, SHOWN)],
        "data": data_section.render(card),
        "entries": card["expansions"],
        "lineage": material.lineage(task, told),
        "recipe": material.recipe(task),
        "load": served_section.render(match.served),
        "sweep": sweep_section.render(folders.trained),
        "quantization": quantization_section.render(folders.quantized),
        "pictures": {
            "curve": pictures.learning_curve([json.loads(line) for line in lines], "nats/token"),
            "latency": pictures.latency(latencies),
        },
    }
