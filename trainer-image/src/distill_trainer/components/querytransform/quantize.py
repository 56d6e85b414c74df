"""Quantize: the weights of a causal query transform become smaller, and its loss is measured."""

from distill_api.wire import Report

from distill_trainer.components import compressed
from distill_trainer.components.querytransform.train import lesson
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Quantise the trained student; the contract refuses encoder-decoders."""
    return compressed.run(context, lesson)
