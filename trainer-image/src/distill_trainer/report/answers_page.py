"""Writes the report of a generator: one HTML file without anything from outside."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from distill_api.status import EvaluationStatus
from distill_api.wire import Task

from distill_trainer.measures import answering
from distill_trainer.measures.answering import Match
from distill_trainer.measures.contest import Pair
from distill_trainer.report import (
    data_section,
    material,
    pictures,
    quantization_section,
    served_section,
    sweep_section,
)
from distill_trainer.report.material import Folders

TEMPLATE = Path(__file__).with_name("answers_page.html.j2")
STYLE_OF = Path(__file__).with_name("page.html.j2")
SHOWN = 20


def write(path: Path, task: Task, folders: Folders, match: Match, status: EvaluationStatus) -> None:
    """Write the page; texts of the data are escaped, as nobody knows what they hold."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        style=style(), status=status, match=match, **_told(task, folders, match, status)
    )
    path.write_text(page, encoding="utf-8")


def style() -> str:
    """Return the style sheet of the other page: both look alike."""
    text = STYLE_OF.read_text(encoding="utf-8")
    return text[text.index("<style>") + len("<style>") : text.index("</style>")]


def _told(task: Task, folders: Folders, match: Match, status: EvaluationStatus) -> dict[str, Any]:
    told = json.loads((folders.prepared / "prepared.json").read_text())
    lines = (folders.trained / "curves.jsonl").read_text().splitlines()
    curve = [json.loads(line) for line in lines]
    latencies = Pair(match.timings.student.latencies, match.timings.teacher.latencies)
    return {
        "title": f"{task.job.namespace}/{task.job.name}",
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "main": answering.main(match),
        "from_data": sum(one.from_data for one in match.asked),
        "worst": [material.excerpts(one) for one in answering.worst(match, SHOWN)],
        "regressions": int(answering.facts(match)["regressions"]),
        "data": data_section.render(json.loads((folders.prepared / "data_card.json").read_text())),
        "lineage": material.lineage(task, told),
        "recipe": material.recipe(task),
        "load": served_section.render(match.served),
        "sweep": sweep_section.render(folders.trained),
        "quantization": quantization_section.render(folders.quantized),
        "pictures": {
            "curve": pictures.learning_curve(curve, "nats/token"),
            "quality": pictures.quality(status, {}),
            "latency": pictures.latency(latencies),
        },
    }
