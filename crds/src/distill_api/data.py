"""The data: where it lies, how it is read, divided and filtered."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distill_api.base import (
    Fraction,
    Model,
    NonNegativeInt,
    PositiveInt,
    ShortText,
    Uri,
    rule,
    rules,
)
from distill_api.sources import SecretRef, source_rules


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
    """Known relevance; optional. 0 or less says that the document does not answer the query: it is
    one of the query's negatives then, and no answer is learnt or counted."""


class DataSource(Model):
    """Training data by URI."""

    model_config = rules(*source_rules())

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
