"""What trainer, servers and operator say to each other about the tokens that a student reads."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from distill_api.base import Model

TOKEN_IDS_FILE: Final = "token_ids.json"  # noqa: S105 - a file's name
"""In the student's folder, and so in its artifact."""
TOKEN_IDS_PATH: Final = "/v1/token-ids"  # noqa: S105 - a path
"""Where a server hands that file over, byte for byte; 404 where its model has none."""
TOKENIZE_PATH: Final = "/tokenize"
"""Where a server tells what the model reads of a text: vLLM's `{"model", "prompt"}`, beside it
`input_type` as in /v1/embeddings, and `query` for the query that a reranker reads a document with;
of vLLM itself `messages` for a conversation.
"""

type Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class TextKind(StrEnum):
    """What a text is to the student: its prompt follows from it."""

    QUERY = "Query"
    DOCUMENT = "Document"
    PAIR = "Pair"
    """A query with a document, read at once by a cross-encoder."""
    CHAT = "Chat"
    """A conversation, up to where a model that writes begins its answer."""
    PROMPT = "Prompt"
    """A text that such a model goes on with, without a template."""


class Turn(Model):
    """What one side says in a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who."""
    content: str
    """What."""


class Sample(Model):
    """A text, and what the student read of it in training."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """What it is a sample of, for people."""
    kind: TextKind
    """What it is to the student."""
    text: str
    """The text without a prompt; of a pair the document."""
    query: str | None = None
    """Of a pair."""
    messages: list[Turn] | None = None
    """Of a conversation; its last one is the text."""
    tokens: Ids
    """Ids of all tokens: special ones, prompt and truncation included."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind is TextKind.PAIR) != (self.query is not None):
            raise ValueError("a pair needs its query, and nothing else has one")
        if (self.kind is TextKind.CHAT) != bool(self.messages):
            raise ValueError("a conversation needs its messages, and nothing else has any")
        return self


class TokenIds(Model):
    """Texts with the tokens that they were in training.

    The texts are the same for every student: an artifact must not carry its users' texts around.
    """

    format: Literal["kubedistill.io/token-ids.v1"] = "kubedistill.io/token-ids.v1"
    """Version of this file."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens after which a text is cut; None: it never is. What writes refuses too long ones."""
    samples: Annotated[list[Sample], Field(min_length=1, max_length=64)]
    """The texts."""
