"""Writes the report: one HTML file without anything from outside."""

from pathlib import Path

import jinja2

from distill_trainer.report import data_section, pictures, served_section, sweep_section
from distill_trainer.report.material import WORDS, Material

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write(path: Path, material: Material) -> None:
    """Write the page to a file."""
    path.write_text(render(material), encoding="utf-8")


def render(material: Material) -> str:
    """Return the page; texts of the data are escaped, as nobody knows what they hold."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        m=material,
        status=material.status,
        words=WORDS,
        pictures=_pictures(material),
        data=data_section.render(material.card),
        sweep=sweep_section.render(material.trained),
        load=served_section.render(material.served),
    )


def _pictures(material: Material) -> dict[str, str]:
    drawn = {
        "curve": pictures.learning_curve(material.curve),
        "quality": pictures.quality(material.status, WORDS),
        "latency": pictures.latency(material.latencies),
        "throughput": pictures.throughput(material.status),
    }
    if material.widths:
        drawn["widths"] = pictures.widths(material.widths)
    return drawn
