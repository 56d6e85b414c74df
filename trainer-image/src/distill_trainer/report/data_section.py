"""The report's section on the data: what the data card says, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distill_trainer.report import data_pictures

TEMPLATE = Path(__file__).with_name("data.html.j2")


def render(card: Mapping[str, Any]) -> Markup:
    """Return the section as HTML; texts of the data are escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return Markup(template.render(card=card, pictures=data_pictures.drawn(card)))  # noqa: S704 - escaped by the template
