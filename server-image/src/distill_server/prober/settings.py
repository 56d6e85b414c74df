"""The prober's flags, as the operator writes them."""

from typing import Annotated, Final, Literal, Self

from distill_api.data import Columns, DataSource
from distill_api.outcome import Measure
from distill_api.probing import Protocol
from distill_api.rollout_policies import Generation
from distill_common import measures, wording
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

RERANKED: Final = 100
"""Documents that a reranker is given for a query: what a search in production hands over."""


class Settings(BaseSettings):
    """What is compared, with what, and how fast."""

    model_config = SettingsConfigDict(
        env_prefix="DISTILL_PROBER_",
        frozen=True,
        cli_prog_name="python -m distill_server.prober",
        cli_kebab_case=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    component: Literal["Embedding", "Reranker", "Generator"]
    """Embedding: documents are searched by their vectors. Reranker: they are scored. Generator: its
    answers are held against references."""
    teacher_url: str
    """Base URL of the teacher's arm."""
    student_url: str
    """Base URL of the student's arm."""
    teacher_protocol: Protocol = Protocol.OPEN_AI
    """What the teacher's server speaks."""
    student_protocol: Protocol = Protocol.OPEN_AI
    """What the student's server speaks."""
    model: str = "model"
    """Name of the model in requests, the same in both arms."""
    source: DataSource
    """Where queries and documents are, as JSON."""
    columns: Columns = Columns()
    """Names of the columns, as JSON."""
    generation: Generation | None = None
    """How a Generator is asked, as JSON."""
    models: str = ""
    """Names what both arms serve, for servers that do not tell: with another name a run begins."""
    max_queries: Annotated[int, Field(ge=1)] = 1000
    """Queries that are used."""
    documents: Annotated[int, Field(ge=2)] = 1000
    """Documents that each query is searched in; a reranker gets 100 of them at most."""
    queries_per_minute: Annotated[float, Field(gt=0)] = 60
    """Queries sent to each arm in a minute."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 10
    """Longest time of one request."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod is reached by its address
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 takes a free one."""
    measure: dict[str, Measure] = {}
    """Quality metric and its measure, for example ndcg=nDCG@10; several times."""
    mirrored_measure: dict[str, Measure] = {}
    """The same of metrics that users' queries are for; with it copies of requests are taken in."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.measure and not self.mirrored_measure:
            raise ValueError("nothing is measured: give --measure or --mirrored-measure")
        writes = self.component == "Generator"
        if writes and self.mirrored_measure:
            raise ValueError(
                "nobody knows what answers users' questions: remove --mirrored-measure"
            )
        known = tuple(wording.MEASURES if writes else measures.KNOWN)
        wanted = (*self.measure.values(), *self.mirrored_measure.values())
        unknown = [own.value for own in wanted if own.value not in known]
        if unknown:
            kind = "of answers" if writes else "of retrieval"
            raise ValueError(f"measure {unknown[0]} is none {kind}: use one of {', '.join(known)}")
        return self

    @property
    def searched(self) -> int:
        """How many documents each query is compared with."""
        reranks = self.component == "Reranker"
        return min(self.documents, RERANKED) if reranks else self.documents
