"""The model card: what the student is, how good, how made, from what, in Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from distill_api.status import EvaluationStatus, Lineage
from distill_api.wire import Task

TEMPLATE = "model_card.md.j2"


def render(
    task: Task,
    lineage: Lineage,
    evaluation: EvaluationStatus | None,
    data: Mapping[str, Any],
) -> str:
    """Write the card. data: the data card of the prepare stage."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown for people, not HTML
    )
    spec = task.spec
    return environment.get_template(TEMPLATE).render(
        name=task.job.name,
        teacher=_teacher(task),
        student=_yaml(spec.student),
        recipe=_yaml(spec.recipe),
        training=_yaml(spec.training),
        prompts=spec.student.prompts or spec.teacher.prompts,
        lineage=lineage,
        evaluation=evaluation,
        data=data,
    )


def _teacher(task: Task) -> str:
    teacher = task.spec.teacher
    if teacher.model is not None:
        return teacher.model.uri
    assert teacher.endpoint is not None
    return f"{teacher.endpoint.model} behind {teacher.endpoint.url}"


def _yaml(part: Any) -> str:
    """Write a part of the spec as the user would, without what has its default."""
    value = part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(value or {}, sort_keys=False).strip()
