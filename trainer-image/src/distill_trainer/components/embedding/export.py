"""Export: the embedding student as an ONNX graph."""

from functools import partial

from distill_api.wire import Report

from distill_trainer.components import encoded, exported
from distill_trainer.components.embedding.quantize import subject
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Write the trained student in the forms that the spec asks for."""
    return exported.run(context, partial(encoded.to_onnx, subject=subject))
