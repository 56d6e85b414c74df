"""What the quantize stage of all that writes does alike: smaller weights, loaded again, a gate."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from distill_api.names import Stage
from distill_api.token_ids import TOKEN_IDS_FILE
from distill_api.wire import Report, Task

from distill_trainer.components import evaluated, smaller
from distill_trainer.components.trained import STUDENT, TEACHING
from distill_trainer.context import Context
from distill_trainer.quantizing import compared, compressing, schemes
from distill_trainer.quantizing.compared import Likeness
from distill_trainer.quantizing.writing_note import MEASURE, WritingNote
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.training import gathering, runtime
from distill_trainer.training.gathering import Lesson

STEPS: Final = 4


def run(context: Context, lesson: Callable[[Task], Lesson]) -> Report:
    """Quantise the trained student; BadInput where it loses more than the gate allows."""

    def quantize(folder: Path) -> WritingNote:
        device = runtime.settle(context.task.threads, context.task.gpus)
        return _quantize(context, lesson(context.task), folder / STUDENT, device)

    return smaller.run(context, quantize)


def _quantize(context: Context, lesson: Lesson, folder: Path, device: torch.device) -> WritingNote:
    wanted, scheme = smaller.wanted(context), schemes.of(smaller.wanted(context))
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
        teacher_bytes=smaller.teacher_size(context),
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
    wanted, prepared = smaller.wanted(context), context.workspace.output(Stage.PREPARE).path
    student = causal.load(source, trust=evaluated.trusts(context.task))
    train = gathering.read(student, prepared, lesson, "train")
    records = compressing.chosen(train, wanted, seed=context.task.spec.training.seed)
    context.progress.tell(1, STEPS, {"records": len(records)}, "calibrate")
    compressing.compress(student, wanted, records, folder)
    compared.keep_teaching(source / TEACHING, folder / TEACHING, schemes.of(wanted).name)
    # Other weights read the same tokens. A student of an earlier release has no such file.
    if (source / TOKEN_IDS_FILE).is_file():
        shutil.copyfile(source / TOKEN_IDS_FILE, folder / TOKEN_IDS_FILE)
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
