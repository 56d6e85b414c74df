"""Builders for tests of the trainer: tasks, contexts, records."""

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill_api.names import Stage
from distill_api.wire import Task
from distill_trainer import context as contexts
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
    """Open a task's context with all places below a folder."""
    places = Places(folder / "scratch", folder / "volumes", folder / "secrets")
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
