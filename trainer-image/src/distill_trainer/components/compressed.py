"""What the quantize stage of all that writes does alike: smaller weights, loaded again, a gate."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from distill_api.names import Stage
from distill_api.training import Quantize
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.components import evaluated
from distill_trainer.components.trained import STUDENT, TEACHING
from distill_trainer.context import Context
from distill_trainer.quantizing import compared, compressing, note, schemes
from distill_trainer.quantizing.compared import Likeness
from distill_trainer.quantizing.writing_note import MEASURE, WritingNote
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import opening
from distill_trainer.training import gathering, runtime
from distill_trainer.training.gathering import Lesson

STEPS: Final = 4

log = logging.getLogger(__name__)


def run(context: Context, lesson: Callable[[Task], Lesson]) -> Report:
    """Quantise the trained student; BadInput where it loses more than the gate allows."""
    trained = context.workspace.output(Stage.TRAIN)
    fingerprint = fingerprints.quantize(context.task, trained.fingerprint)
    if done := context.workspace.find(Stage.QUANTIZE, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.QUANTIZE, fingerprint)
    device = runtime.settle(context.task.threads, context.task.gpus)
    wanted = _wanted(context)
    told = _quantize(context, lesson(context.task), draft.path / STUDENT, device)
    note.check(told, wanted)
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


def _quantize(context: Context, lesson: Lesson, folder: Path, device: torch.device) -> WritingNote:
    wanted, scheme = _wanted(context), schemes.of(_wanted(context))
    source = context.workspace.output(Stage.TRAIN).path / STUDENT
    calibrated_by = _write(context, lesson, source, folder)
    context.progress.tell(2, STEPS, {}, "load what was written")
    context.check_stop()
    trust = evaluated.trusts(context.task)
    after = compared.load(folder, trust=trust)
    layers = compared.layers(folder, after.model)
    found = _compare(context, lesson, (causal.load(source, trust=trust), after), device)
    return WritingNote(
        method=wanted.method.value,
        measure=MEASURE,
        before=math.exp(found.before),
        after=math.exp(found.after),
        bytes_before=evaluated.weights_size(source),
        bytes_after=evaluated.weights_size(folder),
        teacher_bytes=_teacher_size(context),
        layers=layers.quantized,
        left=layers.left,
        scheme=scheme.name,
        group_size=scheme.group_size,
        divergence=found.divergence,
        agreement=found.agreement,
        tokens=found.tokens,
        calibrated_by=calibrated_by,
        on_purpose=layers.on_purpose,
        made_with=compressing.made_with(),
        verified_with=compared.verified_with(),
    )


def _write(context: Context, lesson: Lesson, source: Path, folder: Path) -> int:
    """Write the quantised student; returns how many records calibrated."""
    wanted, prepared = _wanted(context), context.workspace.output(Stage.PREPARE).path
    student = causal.load(source, trust=evaluated.trusts(context.task))
    train = gathering.read(student, prepared, lesson, "train")
    records = compressing.chosen(train, wanted, seed=context.task.spec.training.seed)
    context.progress.tell(1, STEPS, {"records": len(records)}, "calibrate")
    compressing.compress(student, wanted, records, folder)
    compared.keep_teaching(source / TEACHING, folder / TEACHING, schemes.of(wanted).name)
    return len(records)


def _compare(
    context: Context, lesson: Lesson, both: tuple[Causal, Causal], device: torch.device
) -> Likeness:
    """Compare float and quantised student on the validation split."""
    before, after = both
    for one in both:
        one.model.to(device).eval()
    prepared = context.workspace.output(Stage.PREPARE).path
    taught = gathering.read(before, prepared, lesson, "validation")
    context.progress.tell(3, STEPS, {"answers": len(taught)}, "compare with the float student")
    context.check_stop()
    found = compared.compare(before, after, taught)
    compared.refuse_garbage(found)
    return found


def _teacher_size(context: Context) -> int:
    if context.task.spec.teacher.model is None:
        return 0
    return evaluated.weights_size(opening.weights(context))


def _wanted(context: Context) -> Quantize:
    wanted = context.task.spec.quantize
    assert wanted is not None, "the stage is only asked for where the spec has it"
    return wanted
