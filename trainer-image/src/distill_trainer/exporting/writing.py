"""Whether graphs write what the weights write: the same logits, and greedily the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from distill_api.names import Reason

from distill_trainer.errors import BadInput
from distill_trainer.exporting.note import Checked
from distill_trainer.exporting.running import Floats, Graphs, Ids
from distill_trainer.quantizing import parity

MOST: Final = 32
"""Tokens that are written after each prompt."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the weights wrote greedily after a batch of prompts."""

    ids: Ids
    """[rows, length]: the prompts as the graphs read them, padded."""
    mask: Ids
    rows: Sequence[Sequence[int]]
    """Tokens of each row, its end included."""
    logits: Sequence[Floats]
    """[tokens of the row, all tokens]: of the weights, at each token."""


def batches[T: Sequence[int]](prompts: Sequence[T]) -> list[list[T]]:
    """Choose batches of different sizes, each of the shortest to the longest prompts there are."""
    ordered = sorted(prompts, key=len, reverse=True)
    return [
        [ordered[place * (len(ordered) - 1) // max(size - 1, 1)] for place in range(size)]
        for size in parity.BATCHES
    ]


def check(graphs: Graphs, written: Sequence[Written], most: float) -> Checked:
    """Follow what the weights wrote, token by token; BadInput where a graph is off.

    most: accepted difference of a logit, relative to the largest of its batch.
    """
    found = [_follow(graphs, one, most) for one in written]
    return Checked(
        largest_difference=max(one.largest_difference for one in found),
        batches=len(found),
        tokens=sum(one.tokens for one in found),
        ties=sum(one.ties for one in found),
    )


def _follow(graphs: Graphs, written: Written, most: float) -> Checked:
    scale = max(1.0, *(float(np.abs(own).max()) for own in written.logits))
    largest, ties = 0.0, 0
    logits = graphs.begin(written.ids, written.mask)
    for place in range(max(map(len, written.rows))):
        if place:
            logits = graphs.step(_at(written, place - 1))
        for row, own in enumerate(written.rows):
            if place >= len(own):
                continue
            off = float(np.abs(logits[row] - written.logits[row][place]).max())
            largest = max(largest, off)
            gap = float(logits[row].max() - logits[row][own[place]])
            ties += gap > 0
            if not max(off, gap) <= most * scale:
                raise _off(len(written.rows), place, max(off, gap), most * scale)
    return Checked(
        largest_difference=largest, batches=1, tokens=sum(map(len, written.rows)), ties=ties
    )


def _at(written: Written, place: int) -> Ids:
    """Return each row's token at a place; its last one where it has ended."""
    return np.array([own[min(place, len(own) - 1)] for own in written.rows], dtype=np.int64)


def _off(rows: int, place: int, off: float, most: float) -> BadInput:
    return BadInput(
        Reason.BAD_MODEL,
        f"The student's ONNX graph writes otherwise than its weights: in a batch of {rows}, at"
        f" token {place + 1}, logits differ by {off:.2g}, and at most {most:.2g} is accepted. Its"
        " architecture cannot be exported with this release; raise export.onnx.maxDifference, or"
        " remove export.onnx",
    )
