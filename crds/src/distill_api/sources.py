"""Where models and data come from: URIs, endpoints and the Secrets that open them."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, JsonValue

from distill_api.base import (
    DnsName,
    Fraction,
    Model,
    NonNegativeInt,
    PositiveInt,
    ShortText,
    Uri,
    listed_once,
    rule,
    rules,
    text,
)

MODEL_SCHEMES = ("oci", "pvc", "s3", "gs", "hf", "http", "https", "file")
DATA_SCHEMES = MODEL_SCHEMES


def _source_rules(schemes: tuple[str, ...]) -> list[dict[str, JsonValue]]:
    pattern = "^(" + "|".join(schemes) + ")://.+"
    listed = ", ".join(f"{scheme}://" for scheme in schemes)
    return [
        rule(
            f"self.uri.matches('{pattern}')",
            f"uri must be a URI of one of these kinds: {listed}",
            at=".uri",
        ),
        rule(
            "!self.plainHttp || self.uri.startsWith('oci://')",
            "plainHttp is for oci:// registries only: remove it, or write http:// in the uri",
            at=".plainHttp",
        ),
    ]


class SecretRef(Model):
    """A Secret in the namespace of the object, mounted into the pods that need it."""

    name: DnsName
    """Name of the Secret. kubedistill never reads it; only the pods do."""


class SecretKeyRef(SecretRef):
    """One key of a Secret."""

    key: Annotated[
        str,
        text(
            r"^[-._a-zA-Z0-9]+$",
            "must be a key of a Secret: letters, digits, '-', '_' and '.'",
            most=253,
        ),
    ]
    """Key inside the Secret."""


class StoredModel(Model):
    """A model by URI: a folder with config.json, safetensors and a tokenizer."""

    model_config = rules(
        *_source_rules(MODEL_SCHEMES),
        rule(
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "revision is for hf:// models only: remove it, or pin a digest in the uri",
            at=".revision",
        ),
    )

    uri: Uri
    """`oci://registry/repository[:tag][@sha256:digest]`, `pvc://claim/path`, `s3://bucket/prefix`,
    `gs://bucket/prefix`, `hf://organisation/name`, `https://host/archive.tar.gz` or `file:///path`
    of the image. Pin a digest or revision to make the result reproducible."""
    revision: ShortText | None = None
    """Commit or tag on the Hugging Face hub; only with `hf://`."""
    secret_ref: SecretRef | None = None
    """Credentials: a docker config for `oci://`, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and
    AWS_ENDPOINT_URL) for `s3://`, token for `hf://` and `https://`."""
    plain_http: bool = False
    """Talk to an `oci://` registry without TLS. Only for registries inside the cluster."""


class ModelSource(StoredModel):
    """A model by URI, for the stages of a job."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off unless you have read that code."""


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
            r"^https?://.+",
            "url must start with http:// or https://, for example https://api.example.com/v1",
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
    )
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
    """Tokens of one input; longer texts are cut. The model's own limit by default."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Inputs of one forward pass or request."""
    sampling: Sampling = Sampling()
    """How a generating teacher answers; ignored for embedding and reranker."""


_RISING: Final[dict[str, JsonValue]] = {
    "x-kubernetes-validations": [
        rule(
            "self.isSorted()",
            "keepLayers must be in rising order, as the student's layers follow the teacher's",
        )
    ]
}


class FromTeacher(Model):
    """A student cut out of the teacher's own weights."""

    keep_layers: Annotated[
        list[Annotated[int, Field(ge=0, le=511)]],
        Field(min_length=1, max_length=512, json_schema_extra=listed_once(**_RISING)),
    ]
    """Indices of the teacher's transformer layers that the student keeps, in rising order."""
    hidden_size: Annotated[int, Field(ge=8, le=65536)] | None = None
    """Width of the student's layers; the teacher's by default. A smaller width is sliced out of
    the teacher's weights, and must be a multiple of the size of an attention head."""
    intermediate_size: Annotated[int, Field(ge=8, le=262144)] | None = None
    """Width of the feed-forward blocks; the teacher's by default."""


class StudentArchitecture(StrEnum):
    """What the student does with its inputs."""

    BI_ENCODER = "BiEncoder"
    LATE_INTERACTION = "LateInteraction"
    CROSS_ENCODER = "CrossEncoder"
    CAUSAL = "Causal"
    SEQ2SEQ = "Seq2Seq"


_STUDENT_RULES = [
    rule(
        "has(self.model) != has(self.fromTeacher)",
        "student needs exactly one of model (a URI) and fromTeacher (layers of the teacher)",
    ),
]


class Student(Model):
    """The small model that learns."""

    model_config = rules(*_STUDENT_RULES)

    model: ModelSource | None = None
    """A pretrained model to start from."""
    from_teacher: FromTeacher | None = None
    """Start from some of the teacher's layers. Needs teacher.model."""
    architecture: StudentArchitecture | None = None
    """BiEncoder for embedding; BiEncoder, LateInteraction or CrossEncoder for reranker; Causal for
    generator; Causal or Seq2Seq for queryTransform. The first of each by default."""
    embedding_dimension: Annotated[int, Field(ge=2, le=65536)] | None = None
    """Width of the student's embeddings, by a linear projection that becomes part of the student.
    The width of its layers by default."""
    max_length: Annotated[int, Field(ge=8, le=131072)] | None = None
    """Tokens of one input; the teacher's by default."""
    prompts: Prompts | None = None
    """Texts put before the student's inputs, in training and when served; the teacher's by
    default."""


class DataFormat(StrEnum):
    """How records are written in a file."""

    JSONL = "JSONL"
    PARQUET = "Parquet"
    CSV = "CSV"
    HF_DATASET = "HFDataset"


class Columns(Model):
    """Names of the columns in the data, where they differ from ours."""

    query: ShortText = "query"
    """The question or search text. A record without it is a document only."""
    document: ShortText = "document"
    """The text that answers the query."""
    negatives: ShortText = "negatives"
    """Known bad documents, a list; optional in the data."""
    group: ShortText = "group"
    """Records with the same group never part over train, validation and test; optional."""
    answer: ShortText = "answer"
    """Reference answer, for generator."""
    context: ShortText = "context"
    """Retrieved text that grounds an answer, for generator; for queryTransform's Rewrite what was
    said before the query, a text or a list of them, oldest first."""
    score: ShortText = "score"
    """Known relevance; optional."""


class DataSource(Model):
    """Training data by URI."""

    model_config = rules(*_source_rules(DATA_SCHEMES))

    uri: Uri
    """A file or folder: `oci://`, `pvc://claim/path`, `s3://`, `gs://`, `https://`, `hf://`,
    `file:///`."""
    format: DataFormat = DataFormat.JSONL
    """How the records are written. JSONL and CSV may be compressed (.gz, .zst). HFDataset is a
    folder as `save_to_disk` writes it, or of Parquet, JSONL or CSV files as on the hub; of several
    splits `train` is read."""
    secret_ref: SecretRef | None = None
    """Credentials, as for models."""
    plain_http: bool = False
    """Talk to an `oci://` registry without TLS. Only for registries inside the cluster."""


class Splits(Model):
    """How records are divided, by group, into train, validation and test; parts of 100."""

    model_config = rules(
        rule(
            "self.train + self.validation + self.test == 100",
            "data.splits: train + validation + test must be 100",
        )
    )

    train: Annotated[int, Field(ge=1, le=98)] = 80
    """Share that the student learns from, in percent."""
    validation: Annotated[int, Field(ge=1, le=98)] = 10
    """Share that chooses the best checkpoint, in percent."""
    test: Annotated[int, Field(ge=1, le=98)] = 10
    """Share that the verdict is measured on, in percent."""


class HardNegatives(Model):
    """Documents that the teacher finds close to a query and that do not answer it."""

    model_config = rules(
        rule(
            "self.rangeMin + self.perQuery <= self.rangeMax",
            "hardNegatives.rangeMax must be at least rangeMin + perQuery, or there are too few"
            " neighbours to choose from: raise rangeMax",
            at=".rangeMax",
        )
    )

    per_query: Annotated[int, Field(ge=0, le=64)] = 4
    """Negatives mined for each query; 0 mines none."""
    range_min: Annotated[int, Field(ge=0, le=10000)] = 1
    """Nearest neighbours skipped first."""
    range_max: Annotated[int, Field(ge=1, le=10000)] = 64
    """Neighbours looked at."""
    relative_margin: Fraction = 0.05
    """A negative must score at least this share below the positive (false negatives are rare)."""


class Candidates(Model):
    """Documents that a reranker's teacher scores for each query."""

    per_query: Annotated[int, Field(ge=2, le=1024)] = 16
    """Length of each query's list: its known documents and given negatives, then documents that
    share rare words with it, and a quarter drawn at random."""


class Filter(Model):
    """What is thrown away before training."""

    model_config = rules(
        rule(
            "self.minCharacters <= self.maxCharacters",
            "filter.minCharacters must not be above maxCharacters, or no text is left",
            at=".minCharacters",
        )
    )

    remove_duplicates: bool = True
    """Drop records whose query and document repeat after normalising case and spaces."""
    min_characters: NonNegativeInt = 1
    """Shorter texts are dropped."""
    max_characters: PositiveInt = 200_000
    """Longer texts are dropped."""
    min_teacher_confidence: Fraction | None = None
    """Records whose teacher score for the positive lies below are dropped; for a reranker its
    share in the softmax over the list of the query's scored documents, for a generator the
    geometric mean of the probabilities of its answer's tokens."""
    outlier_deviations: Annotated[float, Field(ge=1, le=20)] | None = None
    """Records whose teacher score lies further from the mean than this many standard deviations
    are dropped."""


class Data(Model):
    """What is learnt from."""

    source: DataSource
    """The records."""
    columns: Columns = Columns()
    """Names of the columns."""
    splits: Splits = Splits()
    """How the records are divided."""
    filter: Filter = Filter()
    """What is thrown away."""
    hard_negatives: HardNegatives = HardNegatives()
    """Hard negatives for contrastive and margin losses of an embedding."""
    candidates: Candidates = Candidates()
    """Lists that a reranker learns to order and is measured on."""
    balance_by_difficulty: bool = False
    """Draw easy and hard records equally often (the guide's filter & balance step), told by the
    teacher's margin over the hardest negative, for a generator by how likely it finds its own
    answer. A rare record is drawn up to 8 times in an epoch, which becomes longer by that."""
    production_sample: DataSource | None = None
    """A sample of production traffic, rows with the column of the query and maybe of the group, at
    least 50 different queries. The data card says how far the training data is from it, and the
    checklist whether they match. Nothing of it is trained on."""
    max_records: PositiveInt | None = None
    """Use only the first records, for a trial run."""
