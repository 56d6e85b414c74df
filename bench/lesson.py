"""The bench's data and models of encoders, labelled and prepared by our own stages."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from examples.embedding import corpus, fixtures
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
    spec = _spec("embedding/job.yaml")
    return _prepared(work, spec, teacher, records)


def ranked(work: Path, records: int, teacher_steps: int) -> Lesson:
    """Make a cross-encoder, let it score lists of the same corpus, and prepare them."""
    work.mkdir(parents=True)
    teacher = work / "teacher"
    ranker.make(teacher, steps=teacher_steps)
    spec = _spec("reranker/bi-encoder.yaml")
    spec["data"]["candidates"] = {"perQuery": LIST}
    return _prepared(work, spec, teacher, records)


def _prepared(work: Path, spec: dict[str, Any], teacher: Path, records: int) -> Lesson:
    data = work / "data.jsonl"
    asked = [row for row in corpus.of_this_python() if row.query is not None]
    corpus.write(asked[:: len(asked) // records][:records], data)
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
