"""What prober, servers and operator say to each other about paired quality."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from distill_api.base import Model


class Protocol(StrEnum):
    """How the prober asks an arm."""

    OPEN_AI = "OpenAI"
    """`/v1/embeddings`, and `/v1/rerank` beside it."""
    OPEN_INFERENCE = "OpenInference"
    """`/v2/models/NAME/infer`, version 2 of the Open Inference Protocol."""


PROBE_HEADER: Final = "x-kubedistill-probe"
"""`true` on the prober's requests, which are no user's: servers count them apart."""
DIGEST_HEADER: Final = "x-model-digest"
"""On a server's answers: digest of the model that computed them."""
PAIRS_PATH: Final = "/pairs"
"""Where the prober hands its pairs over; `?after=N&run=R` leaves out numbers up to N, if its run is
R. One answer may end before the last pair: its total says where. `source=Mirrored` asks for those
of users' queries, which are numbered apart."""

type Score = Annotated[float, Field(ge=0, le=1)]


class Pairs(Model):
    """Pairs of scores, student and teacher, of the same queries."""

    run: Annotated[str, Field(min_length=1, max_length=128)]
    """Of what is compared: queries, measures and both models. The same after a restart, except for
    mirrored queries: those that come then are others."""
    total: Annotated[int, Field(ge=0)]
    """No pair up to this number will follow: those queries were scored, or given up."""
    queries: Annotated[int, Field(ge=0)]
    """Queries in all, of mirrored ones at most: when all are done with, no new pair will come."""
    numbers: list[Annotated[int, Field(ge=1)]]
    """Of the pairs below, rising; those of failed queries are missing."""
    scores: dict[str, list[tuple[Score, Score]]]
    """Metric to its pairs, one for each number."""
    failing: str | None = None
    """Why nothing can be scored at present."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(len(found) != len(self.numbers) for found in self.scores.values()):
            raise ValueError("each metric needs one pair for each number")
        if self.numbers != sorted(set(self.numbers)) or self.numbers[-1:] > [self.total]:
            raise ValueError("numbers must rise, up to total")
        return self
