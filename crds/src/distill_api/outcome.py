"""How a student is judged, and what things cost."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from distill_api.base import (
    Fraction,
    Model,
    PositiveInt,
    Quantity,
    ShortText,
    listed_by,
    listed_once,
    rule,
    rules,
    text,
)
from distill_api.pods import EnvironmentVariable, ImageReference, Resources
from distill_api.teacher import Endpoint


class Measure(StrEnum):
    """Measures of quality, in the notation of ir-measures where they are retrieval's.

    Likelihood is the geometric mean of the probabilities of the reference answer's tokens, which
    is 1 / perplexity.
    """

    RECALL_1 = "R@1"
    RECALL_10 = "R@10"
    NDCG_10 = "nDCG@10"
    MAP = "AP"
    MAP_1000 = "AP@1000"
    MRR = "RR"
    MRR_10 = "RR@10"
    FAITHFULNESS = "Faithfulness"
    RELEVANCY = "Relevancy"
    CONTEXT_RECALL = "ContextRecall"
    LIKELIHOOD = "Likelihood"
    ROUGE_L = "ROUGE-L"
    TOKEN_F1 = "TokenF1"  # noqa: S105 - words, not a secret
    RECALL_LIFT = "RecallLift"


class Gate(Model):
    """A condition for publishing."""

    measure: Measure
    """What is measured."""
    min_retention: Fraction = 0.93
    """Student's score divided by the teacher's, at least; the guide's 93 %."""


class GateAction(StrEnum):
    """What happens when a gate is missed."""

    STOP = "Stop"
    PUBLISH = "Publish"


class Judge(Model):
    """A language model that judges answers, by the definitions of RAGAS."""

    endpoint: Endpoint
    """A server with `/v1/chat/completions`; it answers with temperature 0."""
    embeddings: Endpoint | None = None
    """A server with `/v1/embeddings`, for Relevancy, which compares questions by their meaning."""


class Corpus(StrEnum):
    """Which documents test queries are searched in."""

    ALL = "All"
    TEST = "Test"


def _absent(member: str) -> str:
    """Return the CEL expression that is true where a member, or what it is in, is not there."""
    parts = member.split(".")
    paths = (".".join(parts[: count + 1]) for count in range(len(parts)))
    return " || ".join(f"!has(self.{path})" for path in paths)


Milliseconds = Annotated[float, Field(ge=0.001, le=600_000)]


class Vllm(Model):
    """vLLM as a rollout runs it, beside the trainer in the pod of the evaluate stage.

    It is started on the student as it is published and on the teacher, in turns, one at a time.
    """

    model_config = rules(
        rule(
            "!self.args.exists(a, a.matches('^--(model|served-model-name|host|port|uds|api-key)"
            "(=.*)?$'))",
            "benchmark.vllm.args has what the benchmark sets itself (--model, --served-model-name,"
            " --host, --port, --uds, --api-key): remove it",
            at=".args",
        ),
    )

    image: ImageReference
    """Image of vLLM, the one of a rollout's deployment.image: what server-image/vllm builds, or
    vllm/vllm-openai with a tag or digest."""
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] = []
    """More arguments for vLLM, of both models, for example `--max-model-len` and its value."""
    env: Annotated[
        list[EnvironmentVariable], Field(max_length=64, json_schema_extra=listed_by("name"))
    ] = []
    """More environment variables of its container."""
    resources: Resources = Resources()
    """Resources of its container, beside those of the evaluate stage. A model is served on
    accelerators if gpu is set here."""
    shared_memory: Quantity = "1Gi"
    """Size of /dev/shm, which counts as the container's memory once it is used."""
    start_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """Longest time from a start to the first right answer."""
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Longest answer in tokens; teacher.sampling.maxTokens by default."""
    max_p95_time_to_first_token_milliseconds: Milliseconds | None = None
    """Gate: 95th percentile of the time from the arrival to the student's first token, at most."""
    max_p95_time_per_output_token_milliseconds: Milliseconds | None = None
    """Gate: 95th percentile of the mean time between an answer's tokens, at most."""


class Benchmark(Model):
    """A load on student and teacher as they are served: the server's process, asked over HTTP.

    Requests arrive at random (Poisson) at the stated rate, whether or not earlier ones are
    answered, and a latency counts from when a request was to be sent: a server that stands still
    makes every request late that arrives meanwhile. Both get the same arrivals, in turns.
    """

    model_config = rules(
        rule(
            "double(self.requests) <= 3600.0 * self.requestsPerSecond",
            "the load of each model would last more than an hour: lower benchmark.requests or raise"
            " benchmark.requestsPerSecond",
            at=".requests",
        ),
        *(
            rule(
                f"{_absent(limit)} || self.{limit} < 1000.0 * self.timeoutSeconds",
                f"benchmark.{limit} must be below benchmark.timeoutSeconds, which a failed request"
                " counts as: raise timeoutSeconds",
                at=f".{limit}",
            )
            for limit in (
                "maxP95Milliseconds",
                "maxP99Milliseconds",
                "vllm.maxP95TimeToFirstTokenMilliseconds",
                "vllm.maxP95TimePerOutputTokenMilliseconds",
            )
        ),
        rule(
            "!has(self.vllm) || self.runtime == 'OnnxRuntime'",
            "benchmark.runtime is what computes embeddings and scores; what writes is served by"
            " benchmark.vllm: remove runtime",
            at=".runtime",
        ),
    )

    requests_per_second: Annotated[float, Field(ge=0.1, le=10_000)]
    """Arrival rate: the mean number of requests in a second."""
    requests: Annotated[int, Field(ge=20, le=1_000_000)] = 1000
    """Requests sent to each model."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 256
    """Requests under way at most; one that arrives beyond them waits, and its time counts."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """From the arrival on; a request that fails counts as one of this time."""
    documents_per_request: Annotated[int, Field(ge=1, le=1000)] = 20
    """Documents that a reranker orders in one request."""
    runtime: Literal["OnnxRuntime", "Torch"] = "OnnxRuntime"
    """What the server of an Embedding or Reranker computes with; a quantised student needs
    OnnxRuntime."""
    vllm: Vllm | None = None
    """The server of a Generator or QueryTransform, and what is asked of its tokens."""
    max_p95_milliseconds: Milliseconds | None = None
    """Gate: the student's 95th percentile at most, of whole answers."""
    max_p99_milliseconds: Milliseconds | None = None
    """Gate: the student's 99th percentile at most, of whole answers."""
    max_memory_mebibytes: PositiveInt | None = None
    """Gate: resident memory of the student's server at its peak, at most; of vLLM the sum over its
    processes, without that of accelerators."""
    max_failures: Fraction = 0.005
    """Gate: share of the student's requests that fail, at most; the guide's 0.5 %."""


class Evaluation(Model):
    """How the student is measured against its teacher, on the test split."""

    model_config = rules(
        rule(
            "!has(self.measures) || !has(self.gates)"
            " || self.gates.all(g, g.measure in self.measures)",
            "every gate needs its measure: add the gate's measure to evaluation.measures, or"
            " remove measures to have all of them",
            at=".gates",
        ),
        rule(
            "has(self.judge) || ("
            "(!has(self.measures) || !self.measures.exists(m, m in ['Faithfulness', 'Relevancy',"
            " 'ContextRecall'])) && (!has(self.gates) || !self.gates.exists(g, g.measure in"
            " ['Faithfulness', 'Relevancy', 'ContextRecall'])))",
            "Faithfulness, Relevancy and ContextRecall need a judge: set evaluation.judge, or"
            " remove them from evaluation.measures and gates",
            at=".judge",
        ),
        rule(
            "!has(self.judge) || has(self.judge.embeddings) || ("
            "(!has(self.measures) || !('Relevancy' in self.measures)) && (!has(self.gates) ||"
            " !self.gates.exists(g, g.measure == 'Relevancy')))",
            "Relevancy compares questions by embeddings: set evaluation.judge.embeddings, or remove"
            " it from evaluation.measures and gates",
            at=".judge",
        ),
    )

    measures: (
        Annotated[
            list[Measure], Field(min_length=1, max_length=16, json_schema_extra=listed_once())
        ]
        | None
    ) = None
    """Measures reported; all that fit the component by default."""
    gates: (
        Annotated[
            list[Gate],
            Field(
                max_length=16,
                json_schema_extra=listed_by("measure"),
            ),
        ]
        | None
    ) = None
    """What must hold before publishing; by default nDCG@10 with 93 % for embedding and reranker,
    nothing for the others."""
    min_speedup: Annotated[float, Field(ge=0, le=10000)] | None = None
    """Student's documents per second divided by the teacher's, at least. Not asked by default."""
    on_missed_gate: GateAction = GateAction.STOP
    """Stop: fail the job and publish nothing. Publish: publish, with the verdict in the report."""
    judge: Judge | None = None
    """Judges the answers of generators; without it only measures that need none are reported."""
    corpus: Corpus = Corpus.ALL
    """Documents that test queries are searched in."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """Resamplings of the queries behind the interval of each retention."""
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    """Confidence of those intervals."""
    latency_requests: Annotated[int, Field(ge=10, le=1_000_000)] = 200
    """Single requests timed for P50, P95 and P99."""
    throughput_batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Texts of one batch when throughput is measured."""
    benchmark: Benchmark | None = None
    """Measures what is served under a stated load. Not done by default."""


class Prices(Model):
    """What things cost, to account the job and its break-even."""

    currency: Annotated[
        str,
        text(
            r"^[A-Z]{3}$",
            "currency must be a code of three capital letters (ISO 4217), for example EUR",
            most=3,
        ),
    ] = "USD"
    """ISO 4217 code."""
    cpu_hour: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    """Price of one CPU core for an hour."""
    gpu_hour: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    """Price of one GPU for an hour."""
    teacher_million_tokens: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    """Price of a million tokens of the teacher."""
    teacher_million_requests: Annotated[float, Field(ge=0)] | None = None
    """What a million production requests cost with the teacher."""
    student_million_requests: Annotated[float, Field(ge=0)] | None = None
    """What a million production requests cost with the student."""
    daily_requests: PositiveInt | None = None
    """Production requests a day; with the two prices above status.cost tells the break-even."""
    note: ShortText | None = None
    """Where these prices come from."""
