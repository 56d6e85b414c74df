"""The data card for people: what the student learnt from, in Markdown beside the model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from distill_api.wire import Task

NAME: Final = "DATA_CARD.md"
TEMPLATE: Final = "data_card.md.j2"


def render(task: Task, data: Mapping[str, Any]) -> str:
    """Write the card of a data card's numbers."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown for people, not HTML
    )
    return environment.get_template(TEMPLATE).render(
        name=task.job.name, spec=task.spec.data, data=data
    )
