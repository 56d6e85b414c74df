"""The bench's data and models of encoders, labelled and prepared by our own stages."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from distill_api.data import Splits
from distill_trainer.preparing import splits

from examples.embedding import corpus, fixtures
from examples.embedding.corpus import Row
from examples.reranker import teacher as ranker

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LIST = 8
"""Documents of a query's list that the reranker's teacher scores."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student learns from, and what labelling it once has cost."""

    teacher: Path
    prepared: Path
    label_seconds: float
    texts: int
    """Texts, or pairs of texts, that were labelled."""
    spec: dict[str, Any]
    """The example's DistillationJob spec, with local sources."""


@cache
def make(work: Path, records: int) -> Lesson:
    """Label and prepare the first records of the demo's corpus below `work` for an embedding."""
    work.mkdir(parents=True)
    teacher = fixtures.copy_teacher(work / "teacher")
    asked = _asked()
    return _prepared(work, _spec("embedding/job.yaml"), teacher, _spread(asked, records))


@cache
def tuned(work: Path, records: int, teacher_steps: int) -> Lesson:
    """Tune the teacher on what no student sees, and let it label for an embedding.

    Students learn from `records` records; validation and test keep all of theirs.
    """
    import teachers  # transformers' trainer takes seconds to load

    work.mkdir(parents=True)
    teacher = fixtures.copy_teacher(work / "teacher")
    spec = _spec("embedding/job.yaml")
    rows = _few_to_learn(records)
    others = [row for row in _asked() if _learnt(row) and row not in set(rows)]
    teachers.tune(teacher, others, length=spec["teacher"]["maxLength"], steps=teacher_steps)
    return _prepared(work, spec, teacher, rows)


def ranked(work: Path, records: int, teacher_steps: int) -> Lesson:
    """Make a cross-encoder of all records to learn from; students get some of them.

    Its scores are of lists of the same corpus; validation and test keep all of theirs.
    """
    work.mkdir(parents=True)
    teacher = work / "teacher"
    ranker.make(teacher, steps=teacher_steps)
    spec = _spec("reranker/bi-encoder.yaml")
    spec["data"]["candidates"] = {"perQuery": LIST}
    return _prepared(work, spec, teacher, _few_to_learn(records))


def _few_to_learn(records: int) -> list[Row]:
    asked = _asked()
    learnt = [row for row in asked if _learnt(row)]
    return _spread(learnt, records) + [row for row in asked if not _learnt(row)]


def _asked() -> list[Row]:
    return [row for row in corpus.of_this_python() if row.query is not None]


def _learnt(row: Row) -> bool:
    """Tell whether the prepare stage will put a row into the training split."""
    return splits.assign(f"group:{row.group}", Splits()) == splits.TRAIN


def _spread(rows: list[Row], count: int) -> list[Row]:
    """Take rows of all modules, not of the first ones alone."""
    return rows[:: len(rows) // count][:count]


def _prepared(work: Path, spec: dict[str, Any], teacher: Path, rows: list[Row]) -> Lesson:
    data = work / "data.jsonl"
    corpus.write(rows, data)
    spec["teacher"]["model"] = {"uri": teacher.as_uri()}
    spec["data"]["source"] = {"uri": data.as_uri()}
    label = _stage("Label", spec, work)
    _stage("Prepare", spec, work)
    return Lesson(
        teacher=teacher,
        prepared=next((work / "workspace").glob("prepare-*/")),
        label_seconds=float(label["usage"]["seconds"]),
        texts=int(label["facts"]["texts"]),
        spec=spec,
    )


def _spec(example: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((EXAMPLES / example).read_text(encoding="utf-8"))["spec"]
    return spec


def _stage(stage: str, spec: dict[str, Any], work: Path) -> dict[str, Any]:
    """Run one stage of the trainer as its pod would; returns its report."""
    task = {
        "stage": stage,
        "job": {"namespace": "bench", "name": "bench", "uid": "bench"},
        "spec": spec,
        "workspace": (work / "workspace").as_uri(),
        "threads": 2,
    }
    told, report = work / f"{stage}.json", work / f"{stage}.report.json"
    told.write_text(json.dumps(task), encoding="utf-8")
    options = ["--task", str(told), "--report", str(report), "--scratch", str(work / "scratch")]
    subprocess.run([sys.executable, "-m", "distill_trainer", *options], check=True)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found
