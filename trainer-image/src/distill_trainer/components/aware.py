"""What the train stage does alike where the weights are to be rounded later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from distill_api.teacher import Prompts
from distill_api.training import Quantize
from distill_api.wire import Task
from torch import nn
from transformers import PreTrainedModel

from distill_trainer.quantizing import fake, fake_graph, schemes
from distill_trainer.students import token_ids
from distill_trainer.students.rankers import Ranker

GRAPH: Final = "W8A8"
"""What servers would call an INT8 graph."""


def prepare(task: Task, model: PreTrainedModel) -> Mapping[str, str]:
    """Let a student that writes round its weights in every pass, where the spec asks.

    Returns facts of it.
    """
    wanted = _wanted(task)
    if wanted is None:
        return {}
    scheme = schemes.of(wanted)
    fake.prepare(model, scheme)
    return {"awareTraining": scheme.name, "awareLayers": str(fake.layers(model))}


def finish(task: Task, model: PreTrainedModel) -> None:
    """Give a trained student its plain layers back, once it is sure that they rounded all along."""
    if _wanted(task) is not None:
        fake.layers(model)
        fake.finish(model)


def prepare_encoder(task: Task, student: nn.Module) -> Mapping[str, str]:
    """Let an encoder round in every pass as its graph will, where the spec asks.

    Returns facts of it.
    """
    if _wanted(task) is None:
        return {}
    fake_graph.prepare(student)
    return {"awareTraining": GRAPH, "awareLayers": str(fake_graph.layers(student))}


def save_encoder(task: Task, prompts: Prompts, student: Ranker, folder: Path) -> None:
    """Write a trained encoder with plain layers, once it is sure that they rounded all along."""
    if _wanted(task) is not None:
        fake_graph.layers(student)
        fake_graph.finish(student)
    token_ids.save(prompts, student, folder)


def _wanted(task: Task) -> Quantize | None:
    wanted = task.spec.quantize
    return wanted if wanted is not None and wanted.aware_training else None
