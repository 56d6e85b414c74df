"""Graphs of what writes in ONNX Runtime: they read prompts, and write token by token by a cache."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from distill_common import sessions
from numpy.typing import NDArray

type Ids = NDArray[np.int64]
type Floats = NDArray[np.float32]

PAST: Final = "past_key_values."
PRESENT: Final = "present."
LOGITS: Final = "logits"


class Graphs(Protocol):
    """What writes, as it runs."""

    def begin(self, ids: Ids, mask: Ids) -> Floats:
        """Read prompts [rows, length]; return the logits of the first token [rows, tokens]."""
        ...

    def step(self, last: Ids) -> Floats:
        """Take the token [rows] that was chosen; return the logits of the next [rows, tokens]."""
        ...


class Session:
    """A graph that is given what it asks for."""

    def __init__(self, graph: Path, *, threads: int) -> None:
        self._session = sessions.open_graph(graph, threads=threads)
        self.inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    def __call__(
        self, given: Mapping[str, Any], wanted: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return outputs by name, all by default. given: more than the graph asks for is left."""
        names = list(wanted or self.outputs)
        known = {name: given[name] for name in self.inputs}
        return dict(zip(names, self._session.run(names, known), strict=True))


class CausalGraph:
    """One decoder with its cache as inputs and outputs; prompts are padded on the left."""

    def __init__(self, graph: Path, *, threads: int) -> None:
        self._graph = Session(graph, threads=threads)
        self._past: dict[str, Any] = {}
        self._mask: Ids = np.empty((0, 0), dtype=np.int64)

    def begin(self, ids: Ids, mask: Ids) -> Floats:
        """Read prompts [rows, length]; return the logits of the first token [rows, tokens]."""
        self._mask = mask
        self._past = {
            name: np.zeros((len(ids), entry.shape[1], 0, entry.shape[3]), dtype=np.float32)
            for name, entry in self._graph.inputs.items()
            if name.startswith(PAST)
        }
        return self._run(ids)

    def step(self, last: Ids) -> Floats:
        """Take the token [rows] that was chosen; return the logits of the next [rows, tokens]."""
        self._mask = np.concatenate([self._mask, np.ones((len(last), 1), dtype=np.int64)], axis=1)
        return self._run(last[:, None])

    def _run(self, ids: Ids) -> Floats:
        positions = np.maximum(self._mask.cumsum(axis=1) - 1, 0)[:, -ids.shape[1] :]
        given = {"input_ids": ids, "attention_mask": self._mask, "position_ids": positions}
        found = self._graph(given | self._past)
        self._past = _as_past(found)
        last: Floats = found[LOGITS][:, -1]
        return last


class Seq2SeqGraphs:
    """Encoder, decoder without a cache and decoder with one; sources are padded on the right."""

    def __init__(self, folder: Path, names: Sequence[str], start: int, *, threads: int) -> None:
        """Open the three graphs. start: the token that the decoder begins with."""
        self._encoder, self._first, self._next = (
            Session(folder / name, threads=threads) for name in names
        )
        self._start = start
        self._past: dict[str, Any] = {}
        self._mask: Ids = np.empty((0, 0), dtype=np.int64)

    def begin(self, ids: Ids, mask: Ids) -> Floats:
        """Read sources [rows, length]; return the logits of the first token [rows, tokens]."""
        self._mask = mask
        written = np.full((len(ids), 1), self._start, dtype=np.int64)
        found = self._first(self._read(ids, mask) | {"input_ids": written})
        self._past = _as_past(found)
        last: Floats = found[LOGITS][:, -1]
        return last

    def step(self, last: Ids) -> Floats:
        """Take the token [rows] that was chosen; return the logits of the next [rows, tokens]."""
        given = {"input_ids": last[:, None], "encoder_attention_mask": self._mask}
        found = self._next(given | self._past)
        # What was read stays as it is: only the decoder's own cache grows.
        self._past |= _as_past(found)
        logits: Floats = found[LOGITS][:, -1]
        return logits

    def logits(self, ids: Ids, mask: Ids, written: Ids) -> Floats:
        """Return the logits [rows, written, tokens] after each token that was written."""
        given = self._read(ids, mask) | {"input_ids": written}
        found: Floats = self._first(given, [LOGITS])[LOGITS]
        return found

    def _read(self, ids: Ids, mask: Ids) -> dict[str, Any]:
        states = self._encoder({"input_ids": ids, "attention_mask": mask})
        return {"encoder_attention_mask": mask, "encoder_hidden_states": states[STATES]}


STATES: Final = "last_hidden_state"


def _as_past(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        PAST + name.removeprefix(PRESENT): value
        for name, value in found.items()
        if name.startswith(PRESENT)
    }


def greedy(graphs: Graphs, ids: Ids, mask: Ids, *, ends: Sequence[int], most: int) -> Ids:
    """Write the likeliest token at each place: [rows, written], up to each row's end.

    What follows an end means nothing.
    """
    chosen = graphs.begin(ids, mask).argmax(axis=-1)
    written = [chosen]
    ended = np.isin(chosen, ends)
    while len(written) < most and not ended.all():
        chosen = graphs.step(chosen).argmax(axis=-1)
        written.append(chosen)
        ended |= np.isin(chosen, ends)
    return np.stack(written, axis=1)
