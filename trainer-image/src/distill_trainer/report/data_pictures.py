"""Pictures of the data card: the teacher's scores, difficulty, and lengths beside production's."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from distill_trainer.preparing import balance
from distill_trainer.report.pictures import HEIGHT, INK, STUDENT, STYLE, TEACHER, WIDTH, svg


def drawn(card: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures that a data card has the numbers for, by name."""
    found = {}
    scores = card.get("teacher_scores", {}).get("histogram", {})
    if scores.get("counts"):
        found["scores"] = histogram(scores, "the teacher's score of the right document", "scores")
    balanced = card.get("balance", {})
    if balanced.get("histogram", {}).get("counts"):
        found["margins"] = histogram(
            balanced["histogram"], balanced.get("by", balance.BY_MARGIN), "margins",
            balanced["edges"],
        )  # fmt: skip
    if "production" in card:
        found["lengths"] = lengths(card["production"]["lengths"])
    return found


def histogram(
    told: Mapping[str, Any], label: str, name: str, marks: list[float] | None = None
) -> str:
    """Draw counts between edges; marks are vertical lines."""
    edges, counts = np.array(told["edges"]), np.array(told["counts"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.75 * HEIGHT))
        axes = figure.subplots()
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=TEACHER)
        for mark in marks or []:
            axes.axvline(mark, color=INK, linewidth=1, linestyle="--")
        axes.set_xlabel(label)
        axes.set_ylabel("records")
        return svg(figure, name)


def lengths(told: Mapping[str, Any]) -> str:
    """Draw the shares of queries by their number of words, training beside production."""
    begins = told["edges"]
    names = [str(low) if high == low + 1 else f"{low}-{high - 1}"
             for low, high in pairwise(begins)]  # fmt: skip
    place = np.arange(len(begins))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        axes.bar(place - 0.2, told["training"], 0.38, color=TEACHER, label="training")
        axes.bar(place + 0.2, told["production"], 0.38, color=STUDENT, label="production")
        axes.set_xticks(place, [*names, f"{begins[-1]}+"], rotation=45)
        axes.set_xlabel("words of a query")
        axes.set_ylabel("share of the queries")
        axes.legend()
        return svg(figure, "lengths")
