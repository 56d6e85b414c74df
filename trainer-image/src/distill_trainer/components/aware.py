"""What the train stage of all that writes does alike where the weights are to be rounded later."""

from collections.abc import Mapping

from distill_api.training import Quantize
from distill_api.wire import Task
from transformers import PreTrainedModel

from distill_trainer.quantizing import fake, schemes


def prepare(task: Task, model: PreTrainedModel) -> Mapping[str, str]:
    """Let a student round its weights in every pass, where the spec asks; returns facts of it."""
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


def _wanted(task: Task) -> Quantize | None:
    wanted = task.spec.quantize
    return wanted if wanted is not None and wanted.aware_training else None
