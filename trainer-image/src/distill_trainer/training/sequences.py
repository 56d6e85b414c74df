"""Prompts and the tokens to be written after them, as a student's tokenizer sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.teacher import Sampling
from numpy.typing import NDArray
from torch import Tensor

from distill_trainer.losses.logits import TopK
from distill_trainer.teachers.answers import Distributions
from distill_trainer.texts import conversation
from distill_trainer.texts.conversation import Message

RECORDS: Final = "records.parquet"
IGNORED: Final = -100
"""Label of positions that are not learnt."""

type Ids = NDArray[np.int64]
type Chat = Callable[[Mapping[str, Any], Sampling], list[Message]]
"""Makes the conversation of a record."""


@dataclass(frozen=True, slots=True)
class Taught:
    """One prompt and what is written after it."""

    prompt: Ids
    target: Ids
    """The last one ends the answer."""
    cached: Distributions | None = None
    """The teacher's distribution at each target token."""

    def __len__(self) -> int:
        """Count the tokens of both."""
        return len(self.prompt) + len(self.target)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some sequences as tensors, padding behind them."""

    ids: Tensor
    """int64 [rows, length]."""
    owner: Tensor
    """int64 [rows, length]: which of its row's sequences a token is of, from 1; 0 for padding."""
    learnt: Tensor
    """bool [rows, length - 1]: places whose next token is a target."""
    labels: Tensor
    """int64 [tokens]: the target tokens, row after row."""
    cached: TopK | None
    """The teacher's distributions, row after row."""
    positions: Tensor | None = None
    """int64 [rows, length]: each token's place in its sequence, where a row has several."""

    @property
    def mask(self) -> Tensor:
        """int64 [rows, length]: 1 on real tokens."""
        return (self.owner > 0).long()


def pad(sequences: Sequence[Taught], pad_id: int, device: torch.device) -> Batch:
    """Put each sequence in a row of its own."""
    return lay([[one] for one in sequences], pad_id, device)


def lay(rows: Sequence[Sequence[Taught]], pad_id: int, device: torch.device) -> Batch:
    """Put sequences in tensors; what is learnt is told by place, never by a token's id.

    A padding token is often the one that ends an answer, and that one has to be learnt. rows: the
    sequences of each row, one after the other.
    """
    shape = len(rows), max(sum(map(len, row)) for row in rows)
    ids = np.full(shape, pad_id, dtype=np.int64)
    owner, positions = np.zeros_like(ids), np.tile(np.arange(shape[1]), (shape[0], 1))
    learnt = np.zeros((shape[0], shape[1] - 1), dtype=np.bool_)
    for number, row in enumerate(rows):
        begin = 0
        for place, one in enumerate(row, start=1):
            first, end = begin + len(one.prompt), begin + len(one)
            ids[number, begin:first], ids[number, first:end] = one.prompt, one.target
            owner[number, begin:end] = place
            learnt[number, first - 1 : end - 1] = True
            # What follows counts as a sequence, too: padding, or the next one, which begins anew.
            positions[number, end:] = np.arange(shape[1] - end)
            positions[number, begin:end] = np.arange(end - begin)
            begin = end
    flat = [one for row in rows for one in row]
    cached = [one.cached for one in flat if one.cached is not None]
    several = len(flat) > len(rows)
    return Batch(
        ids=torch.from_numpy(ids).to(device),
        owner=torch.from_numpy(owner).to(device),
        learnt=torch.from_numpy(learnt).to(device),
        labels=torch.from_numpy(np.concatenate([one.target for one in flat])).to(device),
        cached=top_k(cached, device) if len(cached) == len(flat) else None,
        positions=torch.from_numpy(positions).to(device) if several else None,
    )


def top_k(cached: Sequence[Distributions], device: torch.device) -> TopK:
    """Join distributions of different widths; what is missing repeats the first and is not kept."""
    width = max(one.ids.shape[1] for one in cached)
    tokens = sum(len(one.ids) for one in cached)
    ids = np.zeros((tokens, width), dtype=np.int64)
    logprobs = np.full((tokens, width), -np.inf, dtype=np.float32)
    begin = 0
    for one in cached:
        end = begin + len(one.ids)
        ids[begin:end] = one.ids[:, :1]
        ids[begin:end, : one.ids.shape[1]] = one.ids
        logprobs[begin:end, : one.ids.shape[1]] = one.logprobs
        begin = end
    keep = np.isfinite(logprobs)
    ids = np.where(keep, ids, ids[:, :1])
    tail = np.concatenate([one.tail for one in cached])
    parts = (ids, logprobs, keep, tail)
    return TopK(*(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts))


def of_question(row: Mapping[str, Any], sampling: Sampling) -> list[Message]:
    """Return the conversation of a question with its context."""
    return conversation.chat(row["query"], row["context"], sampling)


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts of the data become sequences of a tokenizer."""

    tokenizer: Any
    sampling: Sampling
    same_tokens: bool
    """The teacher's token ids mean the same to this tokenizer."""
    chat: Chat = of_question


def load(prepared: Path, split: str, how: Reading) -> list[Taught]:
    """Read the sequences of a split.

    With the teacher's own tokens where they mean the same, else the answer's text in the student's.
    """
    table = pq.read_table(prepared / RECORDS, filters=[("split", "=", split)])
    return [_sequence(row, how) for row in table.to_pylist()]


def _sequence(row: dict[str, Any], how: Reading) -> Taught:
    messages = how.chat(row, how.sampling)
    prompt = np.array(conversation.prompt_ids(how.tokenizer, messages), dtype=np.int64)
    if not how.same_tokens or not row["token_ids"]:
        text = conversation.whole(row["thoughts"], row["answer"])
        target = conversation.target_ids(how.tokenizer, text)
        return Taught(prompt, np.array(target, dtype=np.int64))
    target, cached = row["token_ids"], distributions(row)
    if target[-1] not in {conversation.end_id(how.tokenizer), how.tokenizer.eos_token_id}:
        # Servers may leave the end out of what they tell; the answer was complete all the same.
        target = [*target, conversation.end_id(how.tokenizer)]
        cached = None if cached is None else _ended(cached, target[-1])
    return Taught(prompt, np.array(target, dtype=np.int64), cached)


def distributions(row: Mapping[str, Any]) -> Distributions | None:
    """Read the cached distributions of a record; None where only its text was kept."""
    if not row["top_ids"]:
        return None
    tokens = len(row["tail"])
    return Distributions(
        ids=np.array(row["top_ids"], dtype=np.uint32).reshape(tokens, -1),
        logprobs=np.array(row["top_logprobs"], dtype=np.float16).reshape(tokens, -1),
        tail=np.array(row["tail"], dtype=np.float32),
    )


def _ended(cached: Distributions, end: int) -> Distributions:
    """Add the certainty of the end."""
    width = cached.ids.shape[1]
    logprobs = np.full((1, width), -np.inf, dtype=np.float16)
    logprobs[0, 0] = 0
    return Distributions(
        ids=np.concatenate([cached.ids, np.full((1, width), end, dtype=np.uint32)]),
        logprobs=np.concatenate([cached.logprobs, logprobs]),
        tail=np.append(cached.tail, np.float32(-np.inf)),
    )


def fitting(
    sequences: Sequence[Taught], longest: int | None, tell: Callable[[int], None], room: int = 0
) -> list[Taught]:
    """Leave out what is longer than so many tokens; tell: told how many those were.

    Nothing is cut: half a context grounds no answer, half an answer teaches to stop anywhere.
    room: tokens that another answer to the same prompt may have.
    """
    needed = [len(one.prompt) + max(len(one.target), room) for one in sequences]
    kept = [one for one, length in zip(sequences, needed, strict=True)
            if longest is None or length <= longest]  # fmt: skip
    tell(len(sequences) - len(kept))
    return kept
