"""Quantize: the weights of a query transform become smaller, and what that costs is measured."""

from distill_api.wire import Report

from distill_trainer.components import compressed, smaller_graphs
from distill_trainer.components.querytransform import models
from distill_trainer.components.querytransform.train import lesson, short_lesson
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Quantise the trained student: the weights of a decoder, the graphs of an encoder-decoder."""
    if models.is_seq2seq(context.task):
        return smaller_graphs.run(context, short_lesson)
    return compressed.run(context, lesson)
