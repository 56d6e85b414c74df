"""A generating teacher whose weights run in this process."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from distill_api.teacher import Sampling
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from distill_trainer.losses import chunks
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import answers
from distill_trainer.teachers.answers import Answer, Ask, Distributions, Flaw, Tell
from distill_trainer.texts import conversation

TELL_SECONDS: Final = 1.0
"""Between two words on a batch that is being written."""


class Drawn(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Samples by the Gumbel-max trick: the largest of logits/T + Gumbel noise is a sample.

    Each row draws from a generator of its own, so an answer does not depend on which others are
    in its batch, and a resumed labelling gives the same one.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature = sampling.temperature
        self.nucleus = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores [rows, vocabulary] whose largest is the sample."""
        scaled = scores.float() / self.temperature
        if self.nucleus is not None:
            scaled = self.nucleus(input_ids, scaled)
        uniform = torch.stack(
            [torch.rand(scaled.shape[-1], generator=one) for one in self.generators]
        )
        return scaled - torch.log(-torch.log(uniform)).to(scaled.device)


class Known(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Never chooses a row of the head that stands for no token."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        """Return scores [rows, head] without those of the padding."""
        known = torch.arange(scores.shape[-1], device=scores.device) < self.vocabulary
        return scores.masked_fill(~known, -torch.inf)


class Kept(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Keeps the likeliest tokens of each step, at temperature 1, and changes nothing.

    Asking the model again for what it has written would read every prompt twice.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        """Return scores [rows, head] as they are."""
        if self.count:
            self._steps.append(likeliest(scores.float(), min(self.count, scores.shape[-1])))
        return scores

    def of(self, row: int, tokens: int) -> Distributions | None:
        """Return the distributions at the first so many tokens of a row; None if none are kept."""
        if not self.count:
            return None
        ids, logprobs, tail = (
            torch.stack([part[row] for part in parts[:tokens]])
            for parts in zip(*self._steps, strict=True)
        )
        return _distributions(ids, logprobs, tail)


@dataclass(frozen=True, slots=True)
class LocalGenerator:
    """A causal language model in evaluation mode, without gradients, in float32."""

    causal: Causal
    sampling: Sampling
    batch_size: int
    max_length: int | None = None
    """Tokens of a prompt; what is longer is not answered. The model's positions where None."""
    vocabulary: int | None = None
    """Tokens that may be written, those with the lowest ids; all rows of the head where None."""

    def answer(self, asked: Sequence[Ask], tell: Tell | None = None) -> list[Answer]:
        """Answer conversations in batches of the given order."""
        return in_batches(self._batch, asked, self.batch_size, self.causal.ends, tell)

    def close(self) -> None:
        """Nothing to let go of: the process ends soon."""

    def _batch(self, asked: Sequence[Ask], heard: "Heard") -> list[Answer]:
        prompts = [conversation.prompt_ids(self.causal.tokenizer, one.chat) for one in asked]
        found: dict[int, Answer] = {}
        for most, places in self._by_room(prompts).items():
            if most < 1:
                found |= {place: unread(len(prompts[place])) for place in places}
                continue
            own = replace(self, sampling=self.sampling.model_copy(update={"max_tokens": most}))
            chosen = [(prompts[place], asked[place].seed) for place in places]
            found |= dict(zip(places, own._answers(chosen, heard), strict=True))  # noqa: SLF001 - its own
        return [found[place] for place in range(len(asked))]

    def _by_room(self, prompts: Sequence[list[int]]) -> dict[int, list[int]]:
        """Return places of prompts by how many tokens may be written after them.

        Positions beyond the model's last one do not exist, or mean nothing to it. After a prompt
        that is longer than max_length nothing is written: cut, it would have lost its beginning,
        instruction and all.
        """
        found: dict[int, list[int]] = {}
        for place, prompt in enumerate(prompts):
            read = len(prompt) <= (self.max_length or sys.maxsize)
            left = (self.causal.positions or sys.maxsize) - len(prompt) if read else 0
            found.setdefault(max(min(self.sampling.max_tokens, left), 0), []).append(place)
        return found

    def _answers(self, chosen: Sequence[tuple[list[int], int]], heard: "Heard") -> list[Answer]:
        """Answer prompts, each with its seed."""
        prompts = [prompt for prompt, _ in chosen]
        kept = Kept(self.sampling.top_logprobs)
        written = self.write(prompts, [seed for _, seed in chosen], heard=heard, kept=kept)
        return [
            read(self.causal, self.sampling, len(prompt), ids, kept.of(row, len(ids)))
            for row, (prompt, ids) in enumerate(zip(prompts, written, strict=True))
        ]

    @torch.no_grad()  # in inference mode, what a student keeps for later could not be trained
    def write(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        *,
        least: int = 0,
        heard: "Heard | None" = None,
        kept: "Kept | None" = None,
    ) -> list[list[int]]:
        """Return the token ids that the model writes after each prompt, its end included.

        least: tokens that are written at least, for measurements of speed. heard: told of each.
        kept: keeps the distributions that they are drawn from.
        """
        model, tokenizer = self.causal.model, self.causal.tokenizer
        inputs = left_padded(prompts, tokenizer.pad_token_id, model.device)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self.sampling.max_tokens,
            min_new_tokens=least or None,
            eos_token_id=self.causal.ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        drawn = [Drawn(seeds, self.sampling)] if self.sampling.temperature > 0 else []
        known = [] if self.vocabulary is None else [Known(self.vocabulary)]
        first = [] if kept is None else [kept]
        out = generated(model, config, [*first, *known, *drawn], inputs, heard)
        rows = out[:, inputs["input_ids"].shape[1] :].tolist()
        return [until_end(row, self.causal.ends) for row in rows]


def unread(prompt: int) -> Answer:
    """Return what is said to a prompt of so many tokens, which are too many to be read."""
    return Answer("", flaw=Flaw.TOO_LONG, prompt_tokens=prompt)


class Heard(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
    """Counts the tokens of a batch while they are written, and tells of them now and then.

    A batch takes minutes where answers are long: till its end nobody would know whether it works,
    and a pod that is asked to end would not hear of it.
    """

    def __init__(self, ends: Sequence[int], tell: Tell | None) -> None:
        self.ends, self.tell = torch.tensor(list(ends)), tell
        self.told = self.counted = 0
        self._open: Tensor | None = None
        self._when = time.monotonic()

    def begin(self) -> None:
        """Listen to other rows from now on."""
        self._open = None

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        """Count the tokens written last [rows]; never asks to stop."""
        last = input_ids[:, -1]
        self._open = torch.ones_like(last, dtype=torch.bool) if self._open is None else self._open
        self.counted += int(self._open.sum())
        self._open &= ~torch.isin(last, self.ends.to(last.device))
        if self.tell is not None and time.monotonic() - self._when >= TELL_SECONDS:
            self._when = time.monotonic()
            self.tell(0, self.counted - self.told)
            self.told = self.counted
        return torch.zeros_like(last, dtype=torch.bool)


def in_batches(
    batch: Callable[[Sequence[Ask], Heard], list[Answer]],
    asked: Sequence[Ask],
    size: int,
    ends: Sequence[int],
    tell: Tell | None,
) -> list[Answer]:
    """Answer in batches of the given order; tell after each how many answers and tokens it had.

    ends: token ids at which an answer ends. While a batch is written tokens alone are told.
    """
    found: list[Answer] = []
    for start in range(0, len(asked), size):
        heard = Heard(ends, tell)
        answered = batch(asked[start : start + size], heard)
        found += answered
        if tell is not None:
            tokens = sum(one.prompt_tokens + one.tokens for one in answered)
            tell(len(answered), tokens - heard.told)
    return found


def generated(
    model: Any,
    config: GenerationConfig,
    processors: Sequence[LogitsProcessor],
    inputs: Mapping[str, Tensor],
    heard: Heard | None = None,
) -> Any:
    """Return the rows of token ids [prompts, prompt and answer] that a model generates.

    config: the spec's settings; the model's own (beams, penalties, other temperatures) are not
    asked. inputs: input_ids and attention_mask, both [prompts, tokens].
    """
    model.generation_config, own = config, model.generation_config
    if heard is not None:
        heard.begin()
    try:
        return model.generate(
            **inputs,
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([] if heard is None else [heard]),
        )
    finally:
        model.generation_config = own


class Writer(Protocol):
    """What has written."""

    @property
    def tokenizer(self) -> Any:
        """Turns its ids into text."""
        ...

    @property
    def ends(self) -> list[int]:
        """Token ids at which it ends."""
        ...


def read(
    writer: Writer, sampling: Sampling, prompt: int, ids: list[int], cached: Distributions | None
) -> Answer:
    """Return what was written as an answer. prompt: tokens that were read before."""
    ended = bool(ids) and ids[-1] in writer.ends
    text = writer.tokenizer.decode(ids, skip_special_tokens=True)
    thoughts, answer = None, text.strip()
    if sampling.chain_of_thought:
        thoughts, answer = conversation.divide(text)
    reasoned = bool(thoughts) or not sampling.chain_of_thought
    return Answer(
        text=answer,
        thoughts=thoughts,
        flaw=answers.judged(answer, truncated=not ended, refused=False, reasoning=reasoned),
        prompt_tokens=prompt,
        tokens=len(ids),
        ids=np.array(ids, dtype=np.uint32),
        distributions=cached,
    )


def until_end(row: list[int], ends: Sequence[int]) -> list[int]:
    """Cut what follows the first end; by its place, as padding may be the same token."""
    stop = next((place for place, one in enumerate(row) if one in ends), len(row) - 1)
    return row[: stop + 1]


def left_padded(prompts: Sequence[list[int]], pad: int, device: torch.device) -> dict[str, Tensor]:
    """Put prompts in one tensor, padding before them, so that all end at the same place.

    Returns input_ids and attention_mask, both [prompts, tokens of the longest].
    """
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(one)) + one for one in prompts]
    mask = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
    return {
        "input_ids": torch.tensor(ids, device=device),
        "attention_mask": torch.tensor(mask, device=device),
    }


@torch.inference_mode()
def top_k(
    causal: Causal, prompts: Sequence[list[int]], written: Sequence[list[int]], count: int
) -> list[Distributions]:
    """Return the distributions at temperature 1 at each written token, from one forward pass."""
    rows = [[*prompt, *own] for prompt, own in zip(prompts, written, strict=True)]
    longest = max(map(len, rows))
    device = causal.model.device
    pad = causal.tokenizer.pad_token_id
    ids = torch.tensor([one + [pad] * (longest - len(one)) for one in rows], device=device)
    lengths = torch.tensor([[len(one)] for one in rows], device=device)
    mask = (torch.arange(longest, device=device) < lengths).long()
    hidden = causal.body(input_ids=ids, attention_mask=mask).last_hidden_state
    vocabulary = int(causal.model.get_output_embeddings().weight.shape[0])
    size = chunks.size(vocabulary, device)
    return [
        # The state before a token is where its distribution is told.
        distributions(causal, hidden[row, len(prompt) - 1 : len(prompt) + len(own) - 1],
                       min(count, vocabulary), size)
        for row, (prompt, own) in enumerate(zip(prompts, written, strict=True))
    ]  # fmt: skip


class Head(Protocol):
    """What turns states into logits."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [tokens, vocabulary] of states [tokens, width]."""
        ...


def distributions(head: Head, hidden: Tensor, count: int, size: int) -> Distributions:
    """Return the count likeliest tokens at states [tokens, width], so many tokens at a time."""
    parts = [
        likeliest(head.logits(hidden[begin : begin + size]).float(), count)
        for begin in range(0, len(hidden), size)
    ]
    ids, logprobs, tail = (torch.cat(part) for part in zip(*parts, strict=True))
    return _distributions(ids, logprobs, tail)


def likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids and log-probabilities [tokens, count] of the likeliest, and the rest's [tokens].

    logits: [tokens, vocabulary].
    """
    whole = torch.logsumexp(logits, dim=-1, keepdim=True)
    top = logits.topk(count, dim=-1)
    others = logits.scatter(-1, top.indices, -torch.inf)
    tail = torch.logsumexp(others, dim=-1) - whole.squeeze(-1)
    return top.indices, top.values - whole, tail


def _distributions(ids: Tensor, logprobs: Tensor, tail: Tensor) -> Distributions:
    return Distributions(
        ids=ids.cpu().numpy().astype(np.uint32),
        logprobs=logprobs.cpu().numpy().astype(np.float16),
        tail=tail.cpu().numpy().astype(np.float32),
    )
