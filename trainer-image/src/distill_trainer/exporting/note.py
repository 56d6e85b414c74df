"""What was measured of a student's graphs: their file, their facts, their sentence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from distill_common import graphs

from distill_trainer.exporting import files

MADE_WITH: Final = ("torch", "transformers", "onnx")
VERIFIED_WITH: Final = ("onnxruntime",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How far graphs are from the weights that they were made from."""

    largest_difference: float
    """Of any number, in the unit of the numbers."""
    batches: int
    """Of different sizes and lengths, that were compared."""
    tokens: int = 0
    """Written greedily by transformers, at each of which the graphs chose the same one."""
    ties: int = 0
    """Tokens of those at which another one was likelier by no more than the accepted difference."""


def content(folder: Path, found: Checked, most: float) -> dict[str, Any]:
    """Return what export.json has of the graphs in a folder."""
    return {
        "graphs": [files.described(path) for path in sorted(folder.glob("*.onnx"))],
        "largestDifference": found.largest_difference,
        "maxDifference": most,
        "batchesCompared": found.batches,
        "madeWith": versions(MADE_WITH),
        "verifiedWith": versions(VERIFIED_WITH),
        "tokensAlike": found.tokens,
        "ties": found.ties,
    }


def write(told: Mapping[str, Any], folder: Path) -> None:
    """Write export.json."""
    (folder / graphs.EXPORTED).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def facts(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the numbers for the report; told: what export.json has."""
    onnx = told.get("onnx")
    if onnx is None:
        return {}
    found = {
        "onnxGraphs": str(len(onnx["graphs"])),
        "onnxOpset": str(onnx["graphs"][0]["opset"]),
        "onnxBytes": str(sum(graph["bytes"] for graph in onnx["graphs"])),
        "onnxExternalData": str(any(graph["externalData"] for graph in onnx["graphs"])).lower(),
        "onnxLargestDifference": f"{onnx['largestDifference']:.3g}",
        "onnxBatchesCompared": str(onnx["batchesCompared"]),
    }
    if onnx["tokensAlike"]:
        found["onnxTokensAlike"] = str(onnx["tokensAlike"])
    return found


def sentence(told: Mapping[str, Any]) -> str:
    """Say what came of it."""
    onnx = told.get("onnx")
    if onnx is None:
        return ""
    named = ", ".join(Path(graph["file"]).name for graph in onnx["graphs"])
    size = sum(graph["bytes"] for graph in onnx["graphs"]) / 1e6
    written = (
        f", the same {onnx['tokensAlike']} tokens written greedily" if onnx["tokensAlike"] else ""
    )
    return (
        f"ONNX: {named} ({size:.1f} MB, opset {onnx['graphs'][0]['opset']}); largest difference"
        f" from the weights {onnx['largestDifference']:.2g} in {onnx['batchesCompared']}"
        f" batches{written}"
    )


def versions(names: Sequence[str]) -> str:
    """Name libraries with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in names)
