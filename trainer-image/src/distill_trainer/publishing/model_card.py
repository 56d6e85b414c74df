"""The model card: what the student is, how good, how made, from what, in Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from distill_api.recipe import Component
from distill_api.status import EvaluationStatus, Lineage
from distill_api.student import StudentArchitecture
from distill_api.wire import Task

TEMPLATE = "model_card.md.j2"


def render(
    task: Task,
    lineage: Lineage,
    evaluation: EvaluationStatus | None,
    data: Mapping[str, Any],
    notes: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Write the card.

    data: the data card of the prepare stage. notes: `teaching`, how prompts of what writes are
    written down, `quantization`, what making the student smaller cost, and `export`, what its
    other forms are, and `engine`, what TensorRT built.
    """
    found = notes or {}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown for people, not HTML
    )
    spec = task.spec
    generator = spec.component is Component.GENERATOR
    return environment.get_template(TEMPLATE).render(
        name=task.job.name,
        generator=generator,
        reranker=_reranker(task),
        transform=_transform(task),
        teaching=found.get("teaching", {}),
        quantization=found.get("quantization", {}),
        onnx=found.get("export", {}).get("onnx", {}),
        engine=found.get("engine", {}),
        teacher=_teacher(task),
        student=_yaml(spec.student),
        recipe=_yaml(spec.recipe),
        training=_yaml(spec.training),
        prompts=spec.student.prompts or spec.teacher.prompts,
        lineage=lineage,
        evaluation=evaluation,
        data=data,
    )


def _reranker(task: Task) -> str:
    """Return the architecture of a reranker; nothing for another component."""
    if task.spec.component is not Component.RERANKER:
        return ""
    return task.spec.student.architecture or StudentArchitecture.BI_ENCODER


def _transform(task: Task) -> str:
    """Return the architecture of a query transform; nothing for another component."""
    if task.spec.component is not Component.QUERY_TRANSFORM:
        return ""
    return task.spec.student.architecture or StudentArchitecture.CAUSAL


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
