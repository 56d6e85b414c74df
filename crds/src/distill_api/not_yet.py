"""Fields that are part of the contract and whose work is not built yet: refused with a sentence.

Whoever builds it removes its line here; nothing else refuses the field.
"""

from typing import Final, NamedTuple

from pydantic import JsonValue

from distill_api.base import rule
from distill_api.together import SEVERAL_PROCESSES


class NotYet(NamedTuple):
    """A field that is refused: where it is, when it counts as used, what to do instead."""

    path: str
    used: str
    """CEL expression on the spec that is true when the field is used."""
    instead: str
    at: str | None = None
    """The member of spec that the refusal points at; the path's own by default."""


_BY_S3: Final = "use s3:// with AWS_ENDPOINT_URL=https://storage.googleapis.com in its Secret"
_OBJECT_STORES: Final = (
    ("teacher.model.uri", "has(self.teacher.model)"),
    (
        "teacher.endpoint.tokenizer.uri",
        "has(self.teacher.endpoint) && has(self.teacher.endpoint.tokenizer)",
    ),
    ("student.model.uri", "has(self.student.model)"),
    ("data.source.uri", "has(self.data.source)"),
    ("workspace.uri", "has(self.workspace.uri)"),
    ("workspace.labelCache.uri", "has(self.workspace.labelCache.uri)"),
)
"""Where a URI may name an object store, and when it is there."""


def _google_storage(path: str, present: str) -> NotYet:
    """Refuse `gs://`: its library is not part of the trainer image."""
    used = f"{present} && self.{path}.startsWith('gs://')"
    return NotYet(f"{path} gs://", used, _BY_S3, at=path)


_AWARE: Final = "has(self.quantize) && self.quantize.awareTraining"
_QUANTIZED_SEQ2SEQ: Final = (
    "has(self.quantize) && has(self.student.architecture) && self.student.architecture == 'Seq2Seq'"
)

REFUSED: Final = (
    NotYet(
        "recipe.queryTransform.logits.onPolicy",
        "has(self.recipe.queryTransform) && has(self.recipe.queryTransform.logits)"
        " && has(self.recipe.queryTransform.logits.onPolicy)",
        "remove it; the student learns from the teacher's answers",
    ),
    NotYet(
        "recipe.queryTransform.hiddenStates or attentions with a Seq2Seq student",
        "has(self.recipe.queryTransform) && has(self.student.architecture)"
        " && self.student.architecture == 'Seq2Seq'"
        " && (has(self.recipe.queryTransform.hiddenStates)"
        " || has(self.recipe.queryTransform.attentions))",
        "remove both and use outputs or logits, or take a Causal student",
        at="recipe.queryTransform",
    ),
    NotYet(
        "teacher.endpoint.protocol Triton of what writes",
        "has(self.teacher.endpoint) && self.teacher.endpoint.protocol == 'Triton'"
        " && !(self.component in ['Embedding', 'Reranker'])",
        "use protocol OpenAI; by Triton's embeddings and scores are labelled",
        at="teacher.endpoint.protocol",
    ),
    NotYet(
        "quantize.method of a Seq2Seq student",
        f"{_QUANTIZED_SEQ2SEQ} && self.quantize.method != 'INT8'",
        "use INT8, which makes ONNX graphs; the others are for Causal students",
        at="quantize.method",
    ),
    NotYet(
        "quantize.awareTraining of a Seq2Seq student",
        f"{_QUANTIZED_SEQ2SEQ} && self.quantize.awareTraining",
        "set it to false; the trained student is quantised afterwards",
        at="quantize.awareTraining",
    ),
    NotYet(
        "quantize.method of an Embedding or Reranker",
        "has(self.quantize) && self.component in ['Embedding', 'Reranker']"
        " && self.quantize.method != 'INT8'",
        "use INT8; the others are for what writes",
        at="quantize.method",
    ),
    NotYet(
        "quantize of a LateInteraction student",
        "has(self.quantize) && has(self.student.architecture)"
        " && self.student.architecture == 'LateInteraction'",
        "remove it, or take a BiEncoder or a CrossEncoder",
    ),
    NotYet(
        "evaluation.benchmark of a Seq2Seq student",
        "has(self.evaluation.benchmark) && has(self.student.architecture)"
        " && self.student.architecture == 'Seq2Seq'",
        "remove it, or take a Causal student; vLLM serves decoders only",
    ),
    NotYet(
        "evaluation.benchmark of a LateInteraction student",
        "has(self.evaluation.benchmark) && has(self.student.architecture)"
        " && self.student.architecture == 'LateInteraction'",
        "remove it, or take a BiEncoder or a CrossEncoder",
    ),
    NotYet(
        "evaluation.benchmark.runtime Torch of a quantised student",
        "has(self.evaluation.benchmark) && has(self.quantize)"
        " && self.evaluation.benchmark.runtime == 'Torch'",
        "use OnnxRuntime, which runs the quantised graph",
    ),
    NotYet(
        "quantize.awareTraining with training.lora",
        f"{_AWARE} && has(self.training.lora)",
        "remove one of the two: adapters stand beside the rounded weights while training, and once"
        " merged they would be rounded as never before",
        at="quantize.awareTraining",
    ),
    NotYet(
        "quantize.awareTraining with training.distributed",
        f"{_AWARE} && {SEVERAL_PROCESSES}",
        "use one pod with one process, or set it to false",
        at="quantize.awareTraining",
    ),
    NotYet(
        "training.packing",
        "self.training.packing && self.component != 'Generator'",
        "set it to false; only a Generator's answers are packed",
    ),
    NotYet(
        "data.balanceByDifficulty",
        "self.data.balanceByDifficulty && self.component == 'QueryTransform'",
        "set it to false",
    ),
    NotYet(
        "data.filter.minTeacherConfidence or outlierDeviations",
        "self.component == 'QueryTransform' && (has(self.data.filter.minTeacherConfidence)"
        " || has(self.data.filter.outlierDeviations))",
        "remove both; what the teacher writes is judged by whether it is a list of queries",
        at="data.filter",
    ),
    *(_google_storage(*optional) for optional in _OBJECT_STORES),
    NotYet(
        "publish.s3 gs://",
        "self.publish.exists(t, has(t.s3) && t.s3.uri.startsWith('gs://'))",
        _BY_S3,
        at="publish",  # Kubernetes cannot point into a list
    ),
)


_UNMOUNTED: Final = "^(s3|gs|hf|http|https|file)://"
"""Places of models and data that no volume can mount."""


ROLLOUT_REFUSED: Final = (
    NotYet(
        "metrics.quality of a QueryTransform",
        "self.component == 'QueryTransform' && self.metrics.exists(m, has(m.quality))",
        "remove the quality metrics and the prober; what its queries find was measured by its"
        " DistillationJob, as RecallLift",
        at="metrics",
    ),
    NotYet(
        "metrics.quality.source Mirrored of a Generator",
        "self.component == 'Generator'"
        " && self.metrics.exists(m, has(m.quality) && m.quality.source == 'Mirrored')",
        "use source HeldOut, with questions whose answers are known; nobody knows those of users'",
        at="metrics",
    ),
    NotYet(
        "artifact.uri of an object store",
        "has(self.artifact) && has(self.artifact.uri) && self.artifact.uri.matches('^(s3|gs)://')",
        "publish the student to an OCI registry or a volume and name it there",
        at="artifact.uri",
    ),
    NotYet(
        "teacher.deployment.model.uri that has to be downloaded",
        "has(self.teacher.deployment) && has(self.teacher.deployment.model)"
        f" && self.teacher.deployment.model.uri.matches('{_UNMOUNTED}')",
        "push the model to an OCI registry or a volume, or name a Service that serves it already",
        at="teacher.deployment.model.uri",
    ),
    *(
        NotYet(
            f"{arm}.deployment.loraAdapters.model.uri that has to be downloaded",
            f"has(self.{arm}.deployment) && self.{arm}.deployment.loraAdapters.exists(a,"
            f" a.model.uri.matches('{_UNMOUNTED}'))",
            "push the adapter to an OCI registry or a volume",
            at=f"{arm}.deployment.loraAdapters",
        )
        for arm in ("teacher", "student")
    ),
    NotYet(
        "prober.queries.uri that has to be downloaded",
        f"has(self.prober) && self.prober.queries.uri.matches('{_UNMOUNTED}')",
        "push the queries to an OCI registry or a volume",
        at="prober.queries.uri",
    ),
)
"""What a rollout is not able to do yet."""


def _sentence(field: NotYet) -> str:
    return f"spec.{field.path} is not available in this release yet: {field.instead}"


def _rules(refused: tuple[NotYet, ...]) -> tuple[dict[str, JsonValue], ...]:
    return tuple(
        rule(f"!({field.used})", _sentence(field), at=f".{field.at or field.path.split()[0]}")
        for field in refused
    )


RULES: Final = _rules(REFUSED)
ROLLOUT_RULES: Final = _rules(ROLLOUT_REFUSED)
