"""How a student is judged and where it is published."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distill_api.base import (
    DnsName,
    Fraction,
    Model,
    PositiveInt,
    ShortText,
    listed_by,
    listed_once,
    rule,
    rules,
    text,
)
from distill_api.sources import SecretRef


class Measure(StrEnum):
    """Measures of quality, in the notation of ir-measures where they are retrieval's."""

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


class Corpus(StrEnum):
    """Which documents test queries are searched in."""

    ALL = "All"
    TEST = "Test"


class Evaluation(Model):
    """How the student is measured against its teacher, on the test split."""

    model_config = rules(
        rule(
            "!has(self.measures) || !has(self.gates)"
            " || self.gates.all(g, g.measure in self.measures)",
            "every gate needs its measure: add the gate's measure to evaluation.measures, or"
            " remove measures to have all of them",
            at=".gates",
        )
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
    """What must hold before publishing; by default nDCG@10 with 93 % for embedding and reranker."""
    min_speedup: Annotated[float, Field(ge=0, le=10000)] | None = None
    """Student's documents per second divided by the teacher's, at least. Not asked by default."""
    on_missed_gate: GateAction = GateAction.STOP
    """Stop: fail the job and publish nothing. Publish: publish, with the verdict in the report."""
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


class OciTarget(Model):
    """An OCI artifact in a registry."""

    repository: Annotated[
        str,
        text(
            r"^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
            "repository must be registry/name in small letters, without oci:// before it and"
            " without tag or digest after it, for example registry.example.com/models/minilm",
            least=3,
            most=512,
        ),
    ]
    """Registry and repository without tag, for example `registry.example.com/models/minilm`."""
    tag: (
        Annotated[
            str,
            text(
                r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
                "tag must have only letters, digits, '_', '.' and '-', and start with none of the"
                " last two",
                most=128,
            ),
        ]
        | None
    ) = None
    """Tag; the name of the job by default."""
    secret_ref: SecretRef | None = None
    """Secret of type kubernetes.io/dockerconfigjson."""
    plain_http: bool = False
    """Talk to the registry without TLS. Only for registries inside the cluster."""


ObjectStoreUri = Annotated[
    str,
    text(
        "^(s3|gs)://[^/]+.*$",
        "uri must be a prefix in an object store: s3://bucket/prefix or gs://bucket/prefix",
        least=6,
        most=1024,
    ),
]


class UriTarget(Model):
    """A folder by URI."""

    uri: ObjectStoreUri
    """`s3://bucket/prefix` or `gs://bucket/prefix`."""
    secret_ref: SecretRef | None = None
    """Credentials, as for models."""


class PvcTarget(Model):
    """A folder on a volume."""

    claim_name: DnsName
    """PersistentVolumeClaim in the namespace of the job."""
    path: Annotated[
        str,
        text(
            r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
            "path must be a folder below the volume's root: letters, digits, '-', '_' and '.',"
            " parted by '/', without '/' or '..' at its start",
            most=512,
        ),
    ] = "models"
    """Folder below the volume's root."""


class HubTarget(Model):
    """A repository on the Hugging Face hub."""

    repository: Annotated[
        str,
        text(
            r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$",
            "repository must be organisation/name, as on the hub",
            least=3,
            most=256,
        ),
    ]
    """`organisation/name`."""
    private: bool = True
    """Make the repository private."""
    secret_ref: SecretRef
    """Secret with the key `token`."""


_TARGET_RULE = rule(
    "(has(self.oci) ? 1 : 0) + (has(self.s3) ? 1 : 0) + (has(self.pvc) ? 1 : 0)"
    " + (has(self.huggingFace) ? 1 : 0) == 1",
    "each entry of publish needs exactly one of oci, s3, pvc and huggingFace",
)


class Target(Model):
    """One place where the student is published."""

    model_config = rules(_TARGET_RULE)

    oci: OciTarget | None = None
    """An OCI artifact."""
    s3: UriTarget | None = None
    """A folder in an object store."""
    pvc: PvcTarget | None = None
    """A folder on a volume."""
    hugging_face: HubTarget | None = None
    """A repository on the Hugging Face hub."""


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
