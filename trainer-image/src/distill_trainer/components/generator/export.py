"""Export: the generator as an ONNX graph."""

from functools import partial

from distill_api.wire import Report

from distill_trainer.components import exported, written
from distill_trainer.components.generator.train import lesson
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Write the trained student in the forms that the spec asks for."""
    return exported.run(context, partial(written.causal_to_onnx, lesson=lesson(context.task)))
