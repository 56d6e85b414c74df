"""The report's section on a sweep: every trial, and which one went on."""

import json
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from distill_trainer.report import pictures

FILE: Final = "sweep.json"
"""What a sweep leaves beside the best student."""
TEMPLATE: Final = Path(__file__).with_name("sweep.html.j2")


def render(trained: Path) -> Markup:
    """Return the section as HTML; empty where one student was trained."""
    path = trained / FILE
    if not path.exists():
        return Markup()
    told = json.loads(path.read_text())
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    picture = pictures.sweep(told["trials"], told["best"])
    page = template.render(trials=told["trials"], best=told["best"], picture=picture)
    return Markup(page)  # noqa: S704 - escaped by the template
