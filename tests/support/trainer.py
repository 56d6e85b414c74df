"""Builders for tests of the trainer: tasks, contexts, records."""

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_trainer import context as contexts
from distill_trainer import fingerprints
from distill_trainer.context import Context, Places
from distill_trainer.progress import Progress

SPEC: dict[str, Any] = {
    "component": "Embedding",
    "teacher": {"model": {"uri": "file:///nowhere"}},
    "student": {"fromTeacher": {"keepLayers": [0]}},
    "data": {"source": {"uri": "file:///nowhere.jsonl"}},
    "recipe": {"embedding": {"mse": {}}},
    "training": {"maxSteps": 4},
    "publish": [{"pvc": {"claimName": "models"}}],
}


def a_task(folder: Path, stage: Stage = Stage.LABEL, **changes: Any) -> Task:
    """Build a task whose workspace and cache are below a folder; changes go to the spec."""
    given = {"uid": "uid-1", "cache": True, **changes}
    uid, cache = given.pop("uid"), given.pop("cache")
    return Task.model_validate(
        {
            "stage": stage,
            "job": {"namespace": "default", "name": "demo", "uid": uid},
            "spec": {**SPEC, **given},
            "workspace": f"file://{folder}/workspace/{uid}",
            "labelCache": f"file://{folder}/labels" if cache else None,
        }
    )


def a_context(task: Task, folder: Path) -> Context:
    """Open a task's context below a folder; each job has scratch of its own, as each pod has."""
    places = Places(folder / "scratch" / task.job.uid, folder / "volumes", folder / "secrets")
    for place in (places.scratch, places.volumes, places.secrets):
        place.mkdir(parents=True, exist_ok=True)
    return contexts.build(task, places, Progress(), threading.Event())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as lines of JSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def some_rows(count: int) -> list[dict[str, Any]]:
    """Make records that differ, each in a group of its own."""
    return [
        {"query": f"a{n % 12} b{n // 12}", "document": f"a{n % 12} c{n // 12} d{n % 7} e{n % 5}"}
        for n in range(count)
    ]


INPUTS = {"teacher": "sha256:" + "1" * 64, "data": "sha256:" + "2" * 64}


def a_prepared(context: Context) -> None:
    """Leave an output of prepare in the workspace."""
    _leave(context, Stage.PREPARE, {"data_card.json": json.dumps(DATA_CARD).encode()}, INPUTS)


def a_trained_student(
    context: Context, weights: bytes = b"12345678", more: Mapping[str, bytes] | None = None
) -> None:
    """Leave outputs of prepare, train and evaluate in the workspace, without training anything.

    more: other files of the train stage.
    """
    inputs = INPUTS
    a_prepared(context)
    student = {
        "student/config.json": b"{}",
        "student/modules.json": b"[]",
        "student/1_Pooling/config.json": b"{}",
        "student/model.safetensors": weights,
        "curves.jsonl": b'{"step": 1, "loss": 1.0}\n',
        **(more or {}),
    }
    _leave(context, Stage.TRAIN, student, inputs)
    report = {"report.html": b"<html></html>", "evaluation.json": b"{}"}
    _leave(context, Stage.EVALUATE, report, inputs)


DATA_CARD: dict[str, Any] = {
    "records": {"train": 80, "validation": 10, "test": 10},
    "dropped": {"without text": 0, "duplicates": 3},
    "leakage": {"queries": 0, "documents": 0},
}


def _leave(
    context: Context, stage: Stage, files: Mapping[str, bytes], inputs: Mapping[str, str]
) -> None:
    draft = context.workspace.draft(
        stage,
        fingerprints.of([stage, sorted((name, content.hex()) for name, content in files.items())]),
    )
    for name, content in files.items():
        path = draft.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report = Report(stage=stage, outcome="Done", fingerprint=draft.fingerprint)
    draft.commit(report, inputs=inputs)
