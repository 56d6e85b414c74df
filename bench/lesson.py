"""The bench's data and models: the demo's corpus, labelled and prepared by our own stages."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from examples.embedding import corpus, fixtures

JOB = Path(__file__).resolve().parents[1] / "examples" / "embedding" / "job.yaml"


@dataclass(frozen=True, slots=True)
class Lesson:
    """What both loops learn from, and what labelling it once has cost."""

    teacher: Path
    prepared: Path
    label_seconds: float
    texts: int
    """Texts that were labelled."""
    spec: dict[str, Any]
    """The demo's DistillationJob spec, with local sources."""


def make(work: Path, records: int) -> Lesson:
    """Label and prepare the first records of the corpus below `work` with the trainer's stages."""
    teacher = fixtures.copy_teacher(work / "teacher")
    data = work / "data.jsonl"
    asked = [row for row in corpus.of_this_python() if row.query is not None]
    corpus.write(asked[:records], data)
    spec = _spec(teacher, data)
    label = _stage("Label", spec, work)
    _stage("Prepare", spec, work)
    return Lesson(
        teacher=teacher,
        prepared=next((work / "workspace").glob("prepare-*/")),
        label_seconds=float(label["usage"]["seconds"]),
        texts=int(label["facts"]["texts"]),
        spec=spec,
    )


def _spec(teacher: Path, data: Path) -> dict[str, Any]:
    """Take the example's spec, with this machine's files in place of its addresses."""
    spec: dict[str, Any] = yaml.safe_load(JOB.read_text(encoding="utf-8"))["spec"]
    spec["teacher"]["model"] = {"uri": teacher.as_uri()}
    spec["data"]["source"] = {"uri": data.as_uri()}
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
