"""Export: the query transform as ONNX graphs."""

from functools import partial

from distill_api.wire import Report

from distill_trainer.components import exported, written
from distill_trainer.components.querytransform import models
from distill_trainer.components.querytransform.train import lesson, short_lesson
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Write the trained student in the forms that the spec asks for."""
    if models.is_seq2seq(context.task):
        short = short_lesson(context.task)
        return exported.run(context, partial(written.seq2seq_to_onnx, lesson=short))
    return exported.run(context, partial(written.causal_to_onnx, lesson=lesson(context.task)))
