"""Texts as token ids, made once: a ragged array that is cut into padded micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.teacher import Prompts
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

CHUNK = 512
"""Texts tokenised at once."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of many texts, one after the other."""

    ids: NDArray[np.int32]
    """[tokens]: all ids."""
    starts: NDArray[np.int64]
    """[texts + 1]: where each text begins; the last entry is the end."""
    pad: int
    """Id that fills up a row."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[texts]: tokens of each text."""
        return np.diff(self.starts)

    def padded(self, texts: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """Return input_ids and attention_mask, int64 [texts, longest], padded on the right."""
        lengths = self.lengths[texts]
        ids = np.full((len(texts), int(lengths.max())), self.pad, dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : lengths[row]] = self.ids[self.starts[text] : self.starts[text + 1]]
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        return {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(device),
        }


def tokenise(student: SentenceTransformer, texts: Sequence[str], prompts: Sequence[str]) -> Tokens:
    """Tokenise texts as the student will when it is served: each with its prompt, cut to length.

    texts and prompts have one entry for each text; raises ValueError for a text without tokens.
    """
    rows: list[NDArray[np.int32]] = []
    for begin in range(0, len(texts), CHUNK):
        chunk = zip(prompts[begin : begin + CHUNK], texts[begin : begin + CHUNK], strict=True)
        features = student.preprocess([prompt + text for prompt, text in chunk])
        mask = features["attention_mask"].bool()
        rows += [
            ids[kept].numpy().astype(np.int32)
            for ids, kept in zip(features["input_ids"], mask, strict=True)
        ]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if len(rows) == 0 or int(lengths.min()) == 0:
        raise ValueError("the student's tokenizer leaves nothing of a text: check the tokenizer")
    pad = student.tokenizer.pad_token_id
    return Tokens(np.concatenate(rows), np.concatenate([[0], np.cumsum(lengths)]), int(pad or 0))


def of_prepared(
    student: SentenceTransformer, prepared: Path, prompts: Prompts, cache: Path | None
) -> Tokens:
    """Tokenise the texts of a prepared folder, unless an earlier attempt has left them in cache."""
    if cache is not None and cache.exists():
        return load(cache)
    table = pq.read_table(prepared / "texts.parquet", columns=["text", "kind"]).to_pydict()
    before = [prompts.query if kind == "query" else prompts.document for kind in table["kind"]]
    made = tokenise(student, table["text"], before)
    if cache is not None:
        save(made, cache)
    return made


def save(tokens: Tokens, path: Path) -> None:
    """Write tokens so that load gives them back; complete or absent, never half."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, ids=tokens.ids, starts=tokens.starts, pad=np.int64(tokens.pad))
    part.replace(path)


def load(path: Path) -> Tokens:
    """Read what save wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Tokens(stored["ids"], stored["starts"], int(stored["pad"]))
