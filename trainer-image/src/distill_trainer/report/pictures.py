"""Pictures of the report as inline SVG that takes its colours from the page, light or dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from distill_api.status import EvaluationStatus
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill_trainer.measures.contest import Pair

INK, STUDENT, TEACHER = "#010203", "#010204", "#010205"
"""Colours that are drawn; each is replaced by what the page's style sheet says."""
CSS = {INK: "currentColor", STUDENT: "var(--student)", TEACHER: "var(--teacher)"}
WIDTH, HEIGHT = 6.4, 3.2
"""Inches; the page scales them to its own width."""

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def learning_curve(curve: Sequence[Mapping[str, Any]], validated: str = "nDCG@10") -> str:
    """Loss above, validation below, by optimiser step."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.5 * HEIGHT))
        above, below = figure.subplots(2, 1, sharex=True)
        losses = [(point["step"], point["loss"]) for point in curve if "loss" in point]
        if losses:
            above.plot(*zip(*losses, strict=True), color=STUDENT, linewidth=1.2)
        above.set_ylabel("loss")
        scores = [(p["step"], p["validation"]) for p in curve if "validation" in p]
        if scores:
            below.plot(*zip(*scores, strict=True), color=STUDENT, marker="o", markersize=4)
        below.set_ylabel(f"validation {validated}")
        below.set_xlabel("optimiser step")
        return svg(figure, "curve")


def sweep(trials: Sequence[Mapping[str, Any]], best: int | None) -> str:
    """Draw the validation score of each trial, with the best so far as a line."""
    shown = [(t["number"], t["score"], t["state"]) for t in trials if t["score"] is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        for state, marker in (("Complete", "o"), ("Pruned", "x")):
            points = [(number, score) for number, score, own in shown if own == state]
            if points:
                axes.plot(*zip(*points, strict=True), marker, color=STUDENT, label=state.lower())
        numbers = [number for number, *_ in shown]
        leading: Any = np.maximum.accumulate([score for _, score, _ in shown]) if shown else []
        axes.plot(numbers, leading, color=TEACHER, linewidth=1, label="best so far")
        for number, score, _ in shown:
            if number == best:
                axes.annotate("best", (number, score), (0, 6), textcoords="offset points")
        axes.set_xlabel("trial")
        axes.set_ylabel("validation")
        axes.legend()
        return svg(figure, "sweep")


def quality(status: EvaluationStatus, names: Mapping[str, str]) -> str:
    """Bars of each measure, the student's with the interval of its retention."""
    scores = status.scores
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        place = np.arange(len(scores))
        teacher = np.array([float(score.teacher) for score in scores])
        student = np.array([float(score.student) for score in scores])
        ends = np.array([[float(s.retention_low), float(s.retention_high)] for s in scores]).T
        reach = np.abs(ends * teacher - student)
        axes.bar(place - 0.2, teacher, 0.38, color=TEACHER, label="teacher")
        axes.bar(place + 0.2, student, 0.38, color=STUDENT, label="student", yerr=reach, ecolor=INK)
        axes.set_xticks(place, [names.get(score.measure, score.measure) for score in scores])
        axes.set_ylim(0, 1.12)
        _values(axes, [*zip(place - 0.2, teacher, strict=True)])
        axes.legend(ncols=2, loc="upper left")
        return svg(figure, "quality")


def latency(latencies: Pair[tuple[float, ...]]) -> str:
    """Share of the requests that were answered within a time."""
    both = {"student": latencies.student, "teacher": latencies.teacher}
    return _within(both, "milliseconds of one request", "latency")


def served(latencies: Mapping[str, Sequence[float]]) -> str:
    """Draw the same of requests under load, by model."""
    return _within(latencies, "milliseconds from a request's arrival to its answer", "served")


def first_token(latencies: Mapping[str, Sequence[float]]) -> str:
    """Draw the same of the first token."""
    return _within(latencies, "milliseconds from a request's arrival to its first token", "first")


def output_token(latencies: Mapping[str, Sequence[float]]) -> str:
    """Draw the same of the mean time between an answer's tokens."""
    return _within(latencies, "milliseconds between two tokens, mean of an answer", "each")


def _within(latencies: Mapping[str, Sequence[float]], what: str, name: str) -> str:
    colours = {"student": STUDENT, "teacher": TEACHER}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        for model, seconds in latencies.items():
            times = 1000 * np.sort(np.array(seconds))
            axes.step(
                times,
                np.arange(1, len(times) + 1) / len(times),
                color=colours[model],
                label=model,
                where="post",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel(what)
        axes.set_ylabel("share answered")
        axes.legend(loc="lower right")
        return svg(figure, name)


def throughput(status: EvaluationStatus) -> str:
    """Documents per second in batches."""
    pace = [float(status.teacher.items_per_second), float(status.student.items_per_second)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.55 * HEIGHT))
        axes = figure.subplots()
        axes.barh(["teacher", "student"], pace, color=[TEACHER, STUDENT])
        for place, value in enumerate(pace):
            axes.text(value, place, f" {value:,.0f}", va="center", color=INK)
        axes.set_xlim(0, 1.15 * max(pace))
        axes.set_xlabel("documents per second")
        return svg(figure, "throughput")


def widths(scores: Mapping[int, float]) -> str:
    """Score of the student by the width to which its embedding is cut."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        axes.plot(list(scores), list(scores.values()), color=STUDENT, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(scores), [str(width) for width in scores])
        axes.minorticks_off()
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("dimensions kept")
        axes.set_ylabel("nDCG@10")
        return svg(figure, "widths")


def _values(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    for x, y in points:
        axes.text(x, y + 0.01, f"{y:.2f}", ha="center", va="bottom", fontsize=8, color=INK)


def svg(figure: Figure, name: str) -> str:
    """Draw to SVG text without prologue; equal pictures give equal text."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for drawn, css in CSS.items():
        drawing = drawing.replace(drawn, css)
    # Ids of several pictures on one page must not meet.
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    return re.sub(r'<svg ([^>]*?)height="[^"]+"\s*', r"<svg \1", drawing, count=1)
