"""Models of sentence-transformers as teachers: how one is loaded."""

from collections.abc import Callable
from os import environ
from pathlib import Path
from typing import Any

from distill_api.names import Reason
from distill_api.sources import ModelSource

from distill_trainer.errors import BadInput, last_line


def load(
    kind: Callable[..., Any],
    folder: Path,
    source: ModelSource,
    max_length: int | None,
    *,
    gpus: int,
) -> Any:
    """Load a class of sentence-transformers in evaluation mode, in float32, from safetensors only.

    max_length: tokens that are read of a text; None leaves the model's own limit. gpus:
    accelerators that the pod was given. Raises BadInput where it cannot be loaded, or reads less.
    """
    import torch
    from safetensors import SafetensorError

    from distill_trainer.training import runtime

    try:
        model = kind(
            str(folder),
            device=str(runtime.device(gpus)),
            trust_remote_code=source.trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (ValueError, KeyError, OSError, RuntimeError, ImportError, SafetensorError) as error:
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher {source.uri} cannot be loaded: {last_line(error)}. Check that"
            f" {kind.__name__}(folder) loads it with the trainer image's versions",
        ) from error
    torch.set_num_threads(int(environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if max_length is not None:
        _limit(model, max_length)
    return model.eval()


def _limit(model: Any, max_length: int) -> None:
    most = getattr(model.config, "max_position_embeddings", None)
    if isinstance(most, int) and max_length > most:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"teacher.maxLength {max_length} is more than the {most} positions of the teacher:"
            f" set it to at most {most}",
        )
    model.max_seq_length = max_length
