"""What the export stage of every component does alike: reuse, graphs, note, report."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill_api.exports import Export, Onnx
from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_common import graphs

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.exporting import note
from distill_trainer.exporting.note import Checked
from distill_trainer.report.material import Folders
from distill_trainer.training import runtime

type ToOnnx = Callable[[Context, Folders, Onnx, Path], Checked]
"""Writes the student's graphs into a folder, held against its weights."""

log = logging.getLogger(__name__)


def run(context: Context, to_onnx: ToOnnx) -> Report:
    """Write the trained student in the forms that the spec asks for."""
    trained = context.workspace.output(Stage.TRAIN)
    smaller = context.workspace.output(Stage.QUANTIZE) if context.task.spec.quantize else None
    inputs = [one.fingerprint for one in (trained, smaller) if one is not None]
    fingerprint = fingerprints.export(context.task, inputs)
    if done := context.workspace.find(Stage.EXPORT, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.EXPORT, fingerprint)
    prepared = context.workspace.output(Stage.PREPARE)
    runtime.settle(context.task.threads, 0)
    folders = Folders(prepared.path, trained.path, smaller.path if smaller else None)
    told = _written(context, folders, to_onnx, draft.path)
    note.write(told, draft.path)
    log.info("%s", note.sentence(told))
    report = Report(
        stage=Stage.EXPORT,
        outcome="Done",
        fingerprint=fingerprint,
        summary=note.sentence(told)[:400],
        facts=note.facts(told),
    )
    return draft.commit(report, inputs=trained.inputs)


def _written(context: Context, folders: Folders, to_onnx: ToOnnx, folder: Path) -> dict[str, Any]:
    """Write every form that is asked for; returns what export.json has."""
    told: dict[str, Any] = {}
    asked = wanted(context.task)
    if asked.onnx is not None:
        place = folder / graphs.FOLDER
        place.mkdir(exist_ok=True)
        found = to_onnx(context, folders, asked.onnx, place)
        told["onnx"] = note.content(place, found, asked.onnx.max_difference)
    return told


def wanted(task: Task) -> Export:
    """Return what the spec asks for."""
    found = task.spec.export
    assert found is not None, "the stage is only asked for where the spec has it"
    return found
