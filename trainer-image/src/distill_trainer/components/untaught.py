"""A student that writes, before it is taught: a model of its own, or layers of its teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from distill_api.student import FromTeacher

from distill_trainer.context import Context
from distill_trainer.sources import fetching


class Load[S](Protocol):
    """Reads a model's folder; BadInput where it holds none of that kind."""

    def __call__(self, folder: Path, *, trust: bool) -> S:
        """Return the model; trust: its own code may run."""
        ...


def student[S](context: Context, load: Load[S], cut: Callable[[FromTeacher], S]) -> S:
    """Make the untrained student as the spec asks; cut: makes it from the teacher."""
    wanted = context.task.spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
        return load(folder, trust=wanted.model.trust_remote_code)
    assert wanted.from_teacher is not None, "the contract asks for one of the two"
    return cut(wanted.from_teacher)
