"""Opens a task's generating teacher: weights that run here, or a server that is asked."""

from pathlib import Path
from typing import Any

from distill_api.teacher import Endpoint, Sampling, TeacherEndpoint

from distill_trainer.context import Context
from distill_trainer.sources import fetching
from distill_trainer.teachers import opening
from distill_trainer.teachers.answers import Generator


def open_generator(context: Context, folder: Path | None = None, *, spent: int = 0) -> Generator:
    """Open the task's teacher.

    folder: its weights, where they are fetched already. spent: tokens of earlier attempts.
    """
    teacher = context.task.spec.teacher
    if teacher.endpoint is not None:
        return open_served(context, teacher.endpoint, teacher.sampling, spent=spent)
    from distill_trainer.teachers.local_generator import LocalGenerator

    made = placed(context, open_weights(context, folder))
    return LocalGenerator(made, teacher.sampling, teacher.batch_size, teacher.max_length)


def open_weights(context: Context, folder: Path | None = None) -> Any:
    """Load the teacher as a causal model with a chat template, on the CPU."""
    from distill_trainer.students import causal
    from distill_trainer.texts import conversation

    source = context.task.spec.teacher.model
    assert source is not None, "only for teachers with weights"
    place = folder if folder is not None else opening.weights(context)
    made = causal.load(place, trust=source.trust_remote_code)
    conversation.ensure_template(made.tokenizer)
    return made


def placed(context: Context, made: Any) -> Any:
    """Put a model that writes where this pod computes: on its accelerator, if it has one."""
    from distill_trainer.training import runtime

    made.model.to(runtime.device(context.task.gpus))
    return made


def open_served(
    context: Context, endpoint: TeacherEndpoint, sampling: Sampling, *, spent: int = 0
) -> Generator:
    """Open a teacher behind a server; with its tokenizer, where the numbers of tokens matter."""
    numbers = None
    if endpoint.tokenizer is not None and sampling.top_logprobs:
        from distill_trainer.students import causal

        numbers = causal.load_tokenizer(fetching.fetch_tokenizer(context, endpoint.tokenizer))
    return open_endpoint(context, endpoint, sampling, spent=spent, numbers=numbers)


def open_endpoint(
    context: Context, endpoint: Endpoint, sampling: Sampling, *, spent: int = 0, numbers: Any = None
) -> Generator:
    """Open a teacher's server that answers conversations, with its key from a Secret.

    numbers: the tokenizer whose numbers its tokens must have; None where nobody asks.
    """
    from distill_trainer.teachers.chat_endpoint import ChatEndpoint
    from distill_trainer.teachers.endpoint import Budget

    budget = Budget(endpoint.token_budget, spent)
    return ChatEndpoint(endpoint, context.secrets.key(endpoint), sampling, budget, numbers)
