"""The report's section on what making a student that writes smaller has cost."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from distill_trainer.quantizing import note

TEMPLATE = Path(__file__).with_name("writing_quantization.html.j2")


def render(quantized: Path | None) -> Markup:
    """Return the section as HTML; nothing where the student is float."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return Markup(template.render(q=note.read(quantized)))  # noqa: S704 - escaped by the template
