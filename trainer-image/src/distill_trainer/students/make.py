"""The untrained student of a recipe: where it comes from, its width, its prompts, its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from distill_api.names import Reason
from distill_api.student import Student
from distill_api.teacher import Prompts
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from distill_trainer.errors import BadInput
from distill_trainer.students import from_teacher, head


def make(
    wanted: Student, folder: Path, prompts: Prompts, *, max_length: int | None, seed: int
) -> SentenceTransformer:
    """Make the student of a spec; its new linear layer, if any, is still random.

    folder: weights of the teacher (fromTeacher) or of the student itself (model); prompts: what
    the student is trained with, kept in its folder so that servers use the same; max_length in
    tokens, the model's own when None. Raises BadInput for a model that cannot be used.
    """
    loaded = load(folder, trust=bool(wanted.model and wanted.model.trust_remote_code))
    student = from_teacher.cut(loaded, wanted.from_teacher) if wanted.from_teacher else loaded
    if wanted.embedding_dimension is not None:
        head.add(student, wanted.embedding_dimension, seed=seed)
    set_length(student, max_length)
    _refuse_left_out(student, prompts)
    student.prompts = {"query": prompts.query, "document": prompts.document}
    return student


def _refuse_left_out(student: SentenceTransformer, prompts: Prompts) -> None:
    """Refuse prompts that the pooling leaves out: in training they would be in the mean."""
    left_out = any(not getattr(module, "include_prompt", True) for module in student)
    if left_out and (prompts.query or prompts.document):
        raise BadInput(
            Reason.BAD_MODEL,
            "the student's pooling leaves its prompts out (include_prompt is false), which cannot"
            " be trained here: set student.prompts to empty texts, or take another student",
        )


def load(folder: Path, *, trust: bool = False) -> SentenceTransformer:
    """Load a model in float32 on the CPU; BadInput when it is no text encoder that we can run."""
    return opened(SentenceTransformer, folder, trust=trust)


def opened[T](kind: Callable[..., T], folder: Path, *, trust: bool, **more: Any) -> T:
    """Load a model of a class of sentence-transformers in float32 on the CPU.

    more: further arguments of the class. Raises BadInput for a folder that it cannot load.
    """
    try:
        return kind(
            str(folder),
            device="cpu",
            trust_remote_code=trust,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            **more,
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the model cannot be loaded as a {kind.__name__} ({error}): a folder with config.json,"
            " safetensors and a tokenizer of an architecture that transformers knows is expected",
        ) from error


def save(student: Any, folder: Path) -> None:
    """Write a plain sentence-transformers folder: safetensors, tokenizer, modules.json."""
    folder.mkdir(parents=True, exist_ok=True)
    student.save(str(folder), create_model_card=False, safe_serialization=True)


def parameters(model: torch.nn.Module) -> int:
    """Count the weights."""
    return sum(p.numel() for p in model.parameters())


def sizes(student: SentenceTransformer) -> Mapping[str, int]:
    """Return what a reader wants to know about a model: parameters, layers, width, length."""
    config = student[0].auto_model.config
    return {
        "parameters": parameters(student),
        "layers": int(getattr(config, "num_hidden_layers", 0)),
        "hiddenSize": int(getattr(config, "hidden_size", 0)),
        "embeddingDimension": int(student.get_embedding_dimension() or 0),
        "maxLength": int(student.max_seq_length or 0),
    }


def set_length(student: Any, max_length: int | None) -> None:
    """Set the longest input in tokens; refuses more than the positions allow."""
    if max_length is None:
        return
    config = student[0].auto_model.config
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa counts positions from padding_idx + 1.
    reserved = 2 if config.model_type in {"roberta", "xlm-roberta", "camembert"} else 0
    if positions is not None and max_length > positions - reserved:
        raise BadInput(
            Reason.BAD_MODEL,
            f"student.maxLength is {max_length} tokens and the student's positions end at"
            f" {positions - reserved}: lower maxLength",
        )
    student.max_seq_length = max_length
