"""What the train stage of every component does alike with adapters: attach, merge, tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from distill_api.wire import Report, Task
from peft.tuners.lora import LoraModel
from torch import nn
from transformers import PreTrainedModel

from distill_trainer.students import adapters
from distill_trainer.students.adapters import Merged
from distill_trainer.training import runtime

FOLDER: Final = "adapter"


def adapt(task: Task, body: PreTrainedModel, *, head: bool = False) -> LoraModel | None:
    """Put adapters on a student's layers where the spec asks for them; all else is frozen.

    head: train what follows the layers, such as a classifier that may be new.
    """
    lora = task.spec.training.lora
    if lora is None:
        return None
    if lora.quantized_base:
        adapters.quantize(body, compute=runtime.dtype(task.spec.training.precision))
    tuner = adapters.attach(body, lora, seed=task.spec.training.seed)
    if head:
        adapters.train_head(body)
    return tuner


def merge[M: nn.Module](
    task: Task, student: M, fresh: Callable[[], M], score: Callable[[M], float]
) -> Merged[M] | None:
    """Merge the adapters into the student in full precision, the way that validates better.

    fresh: makes the student anew, as it was before training. None where none were trained.
    """
    lora = task.spec.training.lora
    if lora is None:
        return None
    return adapters.best_merge(student, fresh, score, adapters.bases(lora))


def keep(tuner: LoraModel | None, folder: Path) -> None:
    """Write the adapter alone beside the student, where there is one."""
    if tuner is not None:
        adapters.save(tuner, folder / FOLDER)


def tell[M: nn.Module](report: Report, student: nn.Module, merged: Merged[M] | None) -> Report:
    """Add to a report how much was trained and how each way of merging validated."""
    if merged is None:
        return report
    trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
    share = trained / sum(p.numel() for p in merged.model.parameters())
    told = ", ".join(f"{score:.3f} with the {base} base" for base, score in merged.scores.items())
    facts = {
        "trainedParameters": str(trained),
        "mergedInto": merged.base.value,
        **{f"{base.value}BaseValidation": f"{v:.4f}" for base, v in merged.scores.items()},
    }
    summary = f"{report.summary}; adapters of {share:.2%} of the weights, merged: {told}"
    return report.model_copy(update={"summary": summary, "facts": {**report.facts, **facts}})
