"""What every quantize stage does alike, whatever it makes smaller: reuse, gate, note, report."""

import logging
from collections.abc import Callable
from pathlib import Path

from distill_api.names import Stage
from distill_api.training import Quantize
from distill_api.wire import Report

from distill_trainer import fingerprints
from distill_trainer.components import evaluated
from distill_trainer.context import Context
from distill_trainer.quantizing import note
from distill_trainer.quantizing.note import Smaller
from distill_trainer.teachers import opening

log = logging.getLogger(__name__)


def run(context: Context, quantize: Callable[[Path], Smaller]) -> Report:
    """Quantise the trained student into a folder; BadInput where it loses more than its gate."""
    trained = context.workspace.output(Stage.TRAIN)
    fingerprint = fingerprints.quantize(context.task, trained.fingerprint)
    if done := context.workspace.find(Stage.QUANTIZE, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.QUANTIZE, fingerprint)
    told = quantize(draft.path)
    note.check(told, wanted(context))
    note.write(told, draft.path)
    log.info("%s", told.sentence())
    report = Report(
        stage=Stage.QUANTIZE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=told.sentence()[:400],
        facts=told.facts(),
    )
    return draft.commit(report, inputs=trained.inputs)


def wanted(context: Context) -> Quantize:
    """Return what the spec asks for."""
    found = context.task.spec.quantize
    assert found is not None, "the stage is only asked for where the spec has it"
    return found


def teacher_size(context: Context) -> int:
    """Return the bytes of the teacher's weights; 0 where nobody knows, behind an endpoint."""
    if context.task.spec.teacher.model is None:
        return 0
    return evaluated.weights_size(opening.weights(context))
