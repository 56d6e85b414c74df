"""Fields that are part of the contract and whose work is not built yet: refused with a sentence.

Whoever builds it removes its line here; nothing else refuses the field.
"""

from typing import Final, NamedTuple

from pydantic import JsonValue

from distill_api.base import rule


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


REFUSED: Final = (
    NotYet("component", "self.component != 'Embedding'", "use component Embedding"),
    NotYet(
        "teacher.endpoint.protocol Triton",
        "has(self.teacher.endpoint) && self.teacher.endpoint.protocol == 'Triton'",
        "use protocol OpenAI",
    ),
    NotYet("quantize", "has(self.quantize)", "remove it; the student is published in float32"),
    NotYet("sweep", "has(self.sweep)", "remove it and create one job for each trial"),
    NotYet("training.lora", "has(self.training.lora)", "remove it; every weight is trained"),
    NotYet(
        "training.distributed",
        "self.training.distributed.pods > 1 || self.training.distributed.processesPerPod > 1",
        "use one pod with one process",
    ),
    NotYet(
        "training.gradientCheckpointing", "self.training.gradientCheckpointing", "set it to false"
    ),
    NotYet("data.balanceByDifficulty", "self.data.balanceByDifficulty", "set it to false"),
    NotYet("data.productionSample", "has(self.data.productionSample)", "remove it"),
    NotYet(
        "data.source.format HFDataset",
        "self.data.source.format == 'HFDataset'",
        "use JSONL, Parquet or CSV",
    ),
    *(_google_storage(*optional) for optional in _OBJECT_STORES),
    NotYet(
        "publish.s3 gs://",
        "self.publish.exists(t, has(t.s3) && t.s3.uri.startsWith('gs://'))",
        _BY_S3,
        at="publish",
    ),
    NotYet(
        "publish.huggingFace",
        "self.publish.exists(t, has(t.huggingFace))",
        "publish to oci, s3 or pvc",
        at="publish",  # Kubernetes cannot point into a list
    ),
    NotYet(
        "student.architecture",
        "has(self.student.architecture) && self.student.architecture != 'BiEncoder'",
        "use BiEncoder",
    ),
)


_BASELINES: Final = ("OfflineEvaluation", "PreviousStudent", "Absolute")
_UNMOUNTED: Final = "^(s3|gs|hf|http|https|file)://"
"""Places of models and data that no volume can mount."""


def _baseline(name: str) -> NotYet:
    """Refuse a quality that is compared with anything but the teacher's paired scores."""
    used = f"self.metrics.exists(m, has(m.quality) && m.quality.baseline == '{name}')"
    instead = "use baseline Teacher, which compares both arms' answers to the same queries"
    return NotYet(f"metrics.quality.baseline {name}", used, instead, at="metrics")


ROLLOUT_REFUSED: Final = (
    NotYet(
        "component",
        "!(self.component in ['Embedding', 'Reranker'])",
        "use component Embedding or Reranker",
    ),
    *map(_baseline, _BASELINES),
    NotYet(
        "metrics.cost",
        "self.metrics.exists(m, has(m.cost))",
        "remove the metric; with prices given, status.savings tells what is saved",
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
