"""Quantize: the generator's weights become smaller, and what that costs is measured."""

from distill_api.wire import Report

from distill_trainer.components import compressed
from distill_trainer.components.generator.train import lesson
from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Quantise the trained student."""
    return compressed.run(context, lesson)
