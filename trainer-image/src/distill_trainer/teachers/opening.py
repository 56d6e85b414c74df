"""Finds the teacher of a task: its identity, its weights, and something that embeds."""

from pathlib import Path

from distill_api.data import DataSource
from distill_api.names import Reason, Stage
from distill_api.sources import ModelSource
from distill_api.teacher import Endpoint, EndpointProtocol

from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.sources import fetching
from distill_trainer.sources.request import Fetched, Role
from distill_trainer.teachers import Teacher


def pinned(source: ModelSource | DataSource) -> str | None:
    """Return the digest that a URI names itself, so that nothing needs to be fetched to know it."""
    _, at, digest = source.uri.partition("@")
    return (
        digest if source.uri.startswith("oci://") and at and digest.startswith("sha256:") else None
    )


def server(endpoint: Endpoint) -> str:
    """Return the identity of a teacher behind an endpoint."""
    width = f" dimension {endpoint.dimension}" if endpoint.dimension else ""
    return f"{endpoint.url.rstrip('/')} {endpoint.model}{width}"


def fetch(context: Context) -> Fetched:
    """Fetch the teacher's weights, checked."""
    source = context.task.spec.teacher.model
    assert source is not None, "only for teachers with weights"
    return fetching.fetch_model(context, source, Role.TEACHER)


def weights(context: Context) -> Path:
    """Return the folder of the teacher that labelled the data.

    Raises BadInput where what is behind the URI has changed since.
    """
    fetched = fetch(context)
    labelled = _labelled(context)
    if labelled is not None and labelled != fetched.digest:
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher behind spec.teacher.model.uri has changed since it labelled the data"
            f" ({labelled[:19]}… then, {fetched.digest[:19]}… now): bring it back, or create the"
            " job again with a URI that names a digest",
        )
    return fetched.path


def _labelled(context: Context) -> str | None:
    return context.workspace.inputs(Stage.PREPARE).get("teacher")


def open_teacher(context: Context, folder: Path | None = None, *, spent: int = 0) -> Teacher:
    """Open the task's teacher.

    folder: its weights, where they are fetched already. spent: tokens of earlier attempts.
    """
    teacher = context.task.spec.teacher
    if teacher.endpoint is not None:
        return _open_endpoint(context, teacher.endpoint, spent)
    assert teacher.model is not None
    from distill_trainer.teachers import local

    place = folder if folder is not None else weights(context)
    gpus = context.task.gpus
    return local.load(place, teacher.model, teacher.max_length, teacher.batch_size, gpus=gpus)


def _open_endpoint(context: Context, endpoint: Endpoint, spent: int) -> Teacher:
    from distill_trainer.teachers.endpoint import Budget, EndpointTeacher
    from distill_trainer.teachers.open_inference import OpenInferenceTeacher

    key, budget = context.secrets.key(endpoint), Budget(endpoint.token_budget, spent)
    triton = endpoint.protocol is EndpointProtocol.TRITON
    made = OpenInferenceTeacher if triton else EndpointTeacher
    return made(endpoint, key, context.task.spec.teacher.batch_size, budget)
