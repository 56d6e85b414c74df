"""The report's section on a benchmark: what is served, under load, of both models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from distill_trainer.measures import served
from distill_trainer.measures.served import Load, Served, Tokens
from distill_trainer.report import pictures

TEMPLATE: Final = Path(__file__).with_name("served.html.j2")


def render(found: Served | None) -> Markup:
    """Return the section as HTML; empty where no load was asked for."""
    if found is None:
        return Markup()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    told, measured = served.status(found), served.measured(found)
    page = template.render(
        b=told,
        both={name: getattr(told, name) for name in measured},
        pictures=_pictures(measured),
    )
    return Markup(page)  # noqa: S704 - escaped by the template


def _pictures(measured: Mapping[str, Load]) -> dict[str, str]:
    tokens = {name: load.tokens for name, load in measured.items() if load.tokens is not None}
    drawn = {"served": pictures.served({name: load.seconds for name, load in measured.items()})}
    return drawn | (_of_tokens(tokens) if tokens else {})


def _of_tokens(tokens: Mapping[str, Tokens]) -> dict[str, str]:
    each = {name: one.each for name, one in tokens.items() if one.each}
    return {
        "first": pictures.first_token({name: one.first for name, one in tokens.items()}),
        "each": pictures.output_token(each) if each else "",
    }
