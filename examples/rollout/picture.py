"""Draw how a rollout went: traffic, and how far each test was from its bounds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.rollout.follow import Sample

mpl.use("svg")
REGRESSED, HEALTHY = 1.0, -1.0


def draw(samples: Sequence[Sample], title: str, file: Path) -> Path:
    """Write an SVG; above 1 a test says Regressed, below -1 Healthy."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    _traffic(above, samples)
    _evidence(below, samples)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return file


def _traffic(axes: Axes, samples: Sequence[Sample]) -> None:
    times = [sample.seconds for sample in samples]
    weights = [sample.status.get("weight", {}) for sample in samples]
    axes.step(times, [w.get("desired", 0) / 10 for w in weights], where="post", label="decided")
    shares = [w.get("measuredShare") for w in weights]
    measured = [float("nan") if share is None else 100 * float(share) for share in shares]
    axes.plot(times, measured, ".", markersize=3, label="measured")
    axes.set_ylabel("student's traffic, %")
    axes.set_ylim(-3, 103)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _evidence(axes: Axes, samples: Sequence[Sample]) -> None:
    names = dict.fromkeys(m["name"] for s in samples for m in s.status.get("metrics", []))
    for name in names:
        points = list(_positions(samples, name))
        axes.plot([at for at, _ in points], [value for _, value in points], label=name)
    for bound, word in ((REGRESSED, "rolled back"), (HEALTHY, "healthy")):
        axes.axhline(bound, color="grey", linestyle="--", linewidth=0.8)
        axes.annotate(word, (0, bound), color="grey", fontsize=8, va="bottom")
    axes.set_ylim(-1.4, 1.4)
    axes.set_ylabel("evidence / bound")
    axes.set_xlabel("seconds")
    if names:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _positions(samples: Sequence[Sample], name: str) -> Iterator[tuple[float, float]]:
    for sample in samples:
        for metric in sample.status.get("metrics", []):
            if metric["name"] == name and "test" in metric:
                yield sample.seconds, _position(metric["test"])


def _position(test: dict[str, Any]) -> float:
    """Return where a test stands between its bounds, which differ from metric to metric."""
    against = float(test["llr"]) / float(test["upper"])
    if "proof" in test:
        # Quality has two bets: one that it fell, one that it holds.
        holds = float(test["proof"]) / float(test["proofBound"])
        found = against if against > holds else -holds
    elif float(test["llr"]) < 0 and "lower" in test:
        found = -float(test["llr"]) / float(test["lower"])
    else:
        found = against
    return max(-1.3, min(1.3, found))
