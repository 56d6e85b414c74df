"""The teacher: weights or a server, and how it is asked."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distill_api.base import Model, PositiveInt, rule, rules, text
from distill_api.sources import ModelSource, SecretKeyRef, StoredModel


class EndpointProtocol(StrEnum):
    """How a teacher behind a network address is spoken to."""

    OPENAI = "OpenAI"
    TRITON = "Triton"


class Endpoint(Model):
    """A teacher served elsewhere: any OpenAI-compatible server (vLLM, a vendor) or Triton."""

    model_config = rules(
        rule(
            "self.protocol != 'Triton' || !has(self.tokenBudget)",
            "Triton counts no tokens, so tokenBudget could not be kept: remove it, and limit"
            " data.maxRecords",
            at=".tokenBudget",
        )
    )

    protocol: EndpointProtocol = EndpointProtocol.OPENAI
    """OpenAI: `/v1/embeddings`, `/v1/rerank` and `/v1/chat/completions`. Triton: version 2 of the
    Open Inference Protocol, for embeddings (one input of texts) and scores (inputs `query` and
    `documents`)."""
    url: Annotated[
        str,
        text(
            r"^https?://[^/@?#\s]+(/[^?#\s]*)?$",
            "url must start with http:// or https:// and have no user, query or fragment (a key"
            " belongs in apiKeySecretRef), for example https://api.example.com/v1",
            most=1024,
        ),
    ]
    """Base URL, for example `https://api.example.com/v1`; of Triton without a path."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the model at the endpoint."""
    dimension: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Width of the endpoint's embeddings, asked for in the request where the server allows it."""
    api_key_secret_ref: SecretKeyRef | None = None
    """The key, sent as a bearer token."""
    max_concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    """Requests under way at once."""
    requests_per_minute: PositiveInt | None = None
    """Upper limit of the request rate; none by default."""
    token_budget: Annotated[int, Field(ge=1, le=2**53 - 1)] | None = None
    """Tokens that labelling may spend; it stops with a condition when they are used up."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    """Limit of one request, in seconds."""


class TeacherEndpoint(Endpoint):
    """A teacher served elsewhere, and how it numbers its tokens."""

    tokenizer: Annotated[StoredModel | None, Field(exclude_if=lambda found: found is None)] = None
    """The served model's tokenizer: the folder of the model, or one with its tokenizer's files
    alone. A recipe's `logits` need it: token ids that the server tells mean the same to the student
    only if the student's tokenizer is this one, which is compared before the server is asked. The
    server has to tell ids (vLLM does, by `return_tokens_as_token_ids`)."""


class Prompts(Model):
    """Texts put before each input, as the model was trained to expect."""

    query: Annotated[str, Field(max_length=1024)] = ""
    """Before a query, for example `query: `."""
    document: Annotated[str, Field(max_length=1024)] = ""
    """Before a document, for example `passage: `."""


class Sampling(Model):
    """How a generating teacher answers."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.3
    """Softness of sampling; the guide's 0.3 for nearly deterministic answers."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus of the distribution that is sampled from."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 512
    """Longest answer in tokens; truncated answers are dropped and counted."""
    answers_per_prompt: Annotated[int, Field(ge=1, le=64)] = 1
    """Answers asked for each prompt."""
    chain_of_thought: bool = False
    """Ask for reasoning and keep it apart from the answer."""
    top_logprobs: Annotated[int, Field(ge=0, le=256)] = 0
    """Log-probabilities cached for each token; 0 caches only the text. A server gives as many as
    it is allowed to (20, or vLLM's `--max-logprobs`)."""
    system_prompt: Annotated[str, Field(max_length=16384)] | None = None
    """System message of every conversation."""


_TEACHER_RULES = [
    rule(
        "has(self.model) != has(self.endpoint)",
        "teacher needs exactly one of model (weights run in the job) and endpoint (a server)",
    ),
    rule(
        "!has(self.maxLength) || !has(self.endpoint)",
        "teacher.maxLength cuts what weights in the job read, and a server reads what it is sent:"
        " remove it; student.maxLength is the student's own",
        at=".maxLength",
    ),
]


class Teacher(Model):
    """The large model whose knowledge is transferred."""

    model_config = rules(*_TEACHER_RULES)

    model: ModelSource | None = None
    """Weights that the label and evaluate stages load."""
    endpoint: TeacherEndpoint | None = None
    """A server that the label and evaluate stages call."""
    prompts: Prompts = Prompts()
    """Texts put before the teacher's inputs."""
    max_length: Annotated[int, Field(ge=8, le=131072)] | None = None
    """Tokens of one input of teacher.model; longer texts are cut, longer prompts of a teacher that
    writes left out and counted. The model's own limit by default."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Inputs of one forward pass or request."""
    sampling: Sampling = Sampling()
    """How a generating teacher answers; ignored for embedding and reranker."""
