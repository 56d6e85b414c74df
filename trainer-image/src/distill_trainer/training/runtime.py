"""Settings of PyTorch that make a run repeatable."""

import os

import torch
from distill_api.names import Reason
from distill_api.training import Precision, Training
from transformers import PreTrainedModel

from distill_trainer.errors import BadInput


def device(gpus: int) -> torch.device:
    """Return where a pod computes: on its accelerator, where it was given one.

    gpus: accelerators that the pod was given; 0 stays on the CPU even where the node has some.
    Raises BadInput where it was given one and PyTorch finds none: on the CPU it would cost its
    price all the same, for many times as long.
    """
    if not gpus:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    raise BadInput(
        Reason.BAD_RECIPE,
        f"the pod was given {gpus} accelerators and PyTorch {torch.__version__} finds none: use an"
        " image whose libraries fit the node's driver (the one for CPUs fits none), or take"
        " podTemplate.resources.limits.gpu away",
    )


def settle(threads: int, gpus: int = 0) -> torch.device:
    """Fix threads and kernels so that equal work gives equal bits; return the device to use.

    threads: of tensor operations; the order of sums depends on it. gpus: accelerators that the
    pod was given; 0 stays on the CPU even where the node has some.
    """
    # cuBLAS is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Adam's moments of rarely seen words decay into denormals, which a CPU computes slowly.
    torch.set_flush_denormal(True)
    chosen = device(gpus)
    if chosen.type == "cuda":
        # Before anything is put there: each of a pod's processes has an accelerator of its own.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return chosen


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Compute the activations of each layer again in the backward pass."""
    # The reentrant kind needs inputs with a gradient, which token ids have not.
    model.gradient_checkpointing_enable({"use_reentrant": False})


def spare(model: PreTrainedModel, training: Training) -> None:
    """Freeze the word embeddings, and keep no activations, where the spec asks for it."""
    if training.freeze_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
    if training.gradient_checkpointing:
        checkpoint_activations(model)


def dtype(precision: Precision) -> torch.dtype:
    """Return the number format of forward and backward pass."""
    return torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
