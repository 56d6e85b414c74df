"""What a generating teacher is asked and what it answers, wherever it runs."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from distill_api.teacher import Sampling
from numpy.typing import NDArray

from distill_trainer.texts import conversation
from distill_trainer.texts.conversation import Message


class Flaw(StrEnum):
    """Why an answer teaches nothing; each is counted and none is trained on."""

    TRUNCATED = "truncated at maxTokens"
    REFUSED = "refused by the teacher"
    EMPTY = "empty"
    TOO_LONG = "to a prompt that is longer than the teacher reads"
    NO_REASONING = "without reasoning apart from the answer"


@dataclass(frozen=True, slots=True)
class Distributions:
    """The teacher's log-probabilities at each of an answer's tokens, its end included."""

    ids: NDArray[np.uint32]
    """[tokens, k]: the likeliest tokens."""
    logprobs: NDArray[np.float16]
    """[tokens, k]: -inf where the teacher named fewer."""
    tail: NDArray[np.float32]
    """[tokens]: log of the mass of all others."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a teacher."""

    text: str
    """Without the reasoning."""
    thoughts: str | None = None
    flaw: Flaw | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    """Written by the teacher."""
    ids: NDArray[np.uint32] | None = None
    """Token ids of all that was written, with the token that ends it; None where nobody knows."""
    distributions: Distributions | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A conversation to be answered; the number tells several answers to the same one apart."""

    messages: tuple[tuple[str, str], ...]
    """Role and content."""
    number: int = 0

    @property
    def chat(self) -> list[Message]:
        """Return the messages as templates and servers take them."""
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def seed(self) -> int:
        """Return a seed of its own, so that an answer depends on nothing but its question."""
        digest = hashlib.blake2b(repr((self.messages, self.number)).encode(), digest_size=8)
        return int.from_bytes(digest.digest()) >> 1


def ask(query: str, context: str, sampling: Sampling, number: int = 0) -> Ask:
    """Make the conversation of a question."""
    messages = conversation.chat(query, context, sampling)
    return Ask(tuple((message["role"], message["content"]) for message in messages), number)


type Tell = Callable[[int, int], None]
"""Called after each batch with the answers and tokens of it, and within a batch with no answers
and the tokens that are written by then; may raise to stop."""


class Generator(Protocol):
    """Answers conversations. The same ones in the same call get the same answers."""

    def answer(self, asked: Sequence[Ask], tell: Tell | None = None) -> list[Answer]:
        """Return one answer for each conversation."""
        ...

    def close(self) -> None:
        """Let go of connections and memory."""
        ...


_REFUSALS: Final = re.compile(
    r"^\W*(?:i['\u2019]?m (?:very )?(?:sorry|unable)|(?:i )?(?:apologi[sz]e|cannot assist)"
    r"|sorry,? (?:but )?i (?:can['\u2019]?t|cannot)|as an ai\b"
    r"|i (?:can['\u2019]?t|cannot|am unable to|am not able to|won['\u2019]?t) "
    r"(?:help|assist|answer|provide|comply|fulfil|do that|respond))",
    re.IGNORECASE,
)
"""Openings of refusals; the guide's RAG answers begin otherwise."""


def judged(text: str, *, truncated: bool, refused: bool, reasoning: bool) -> Flaw | None:
    """Tell why an answer teaches nothing, or None. text: without reasoning.

    reasoning: whether the reasoning that was asked for is there, or none was asked for.
    """
    if truncated:
        return Flaw.TRUNCATED
    if refused or _REFUSALS.match(text):
        return Flaw.REFUSED
    if not reasoning:
        return Flaw.NO_REASONING
    return None if text.strip() else Flaw.EMPTY
