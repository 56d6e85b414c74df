"""The student: where it starts from, and what it does with its inputs."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, JsonValue

from distill_api.base import Model, listed_once, rule, rules
from distill_api.sources import ModelSource
from distill_api.teacher import Prompts

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
