"""Which Secrets, claims and networks each stage needs, from a table of what it reads and writes."""

from collections.abc import Iterator, Mapping
from typing import Final

from distill_api.data import DataSource
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.sources import StoredModel

type Source = StoredModel | DataSource

READS: Final[Mapping[Stage, tuple[str, ...]]] = {
    Stage.LABEL: ("teacher", "data", "production", "tokenizer"),
    Stage.PREPARE: ("teacher", "data", "production", "tokenizer"),
    Stage.TRAIN: ("teacher", "student"),
    Stage.QUANTIZE: ("teacher",),
    Stage.EXPORT: (),
    Stage.ENGINE: (),
    Stage.EVALUATE: ("teacher", "student"),
    Stage.PUBLISH: (),
    Stage.CLEANUP: (),
}
"""The parts of the spec that a stage fetches. Preparation makes labels again that the shared cache
has lost since, and so the data; labelling looks at production's sample and at the tokenizers of
student and teacher before the teacher works for nothing; training reads the teacher's weights for a
student that is made from them; evaluation times the teacher."""
USES_CACHE: Final = frozenset({Stage.LABEL, Stage.PREPARE})
"""Later stages find all they need in the workspace, and may so run on any node."""

if READS.keys() != set(Stage):
    raise AssertionError("every stage must say what it reads")


def secrets(spec: DistillationJobSpec, stage: Stage) -> tuple[str, ...]:
    """Return the names of the Secrets that a stage's pod mounts, sorted."""
    found = {s.secret_ref.name for s in sources(spec, stage) if s.secret_ref}
    if (
        stage in USES_ENDPOINT
        and spec.teacher.endpoint
        and spec.teacher.endpoint.api_key_secret_ref
    ):
        found.add(spec.teacher.endpoint.api_key_secret_ref.name)
    if stage is Stage.EVALUATE:
        found |= _judge_secrets(spec)
    if spec.workspace.secret_ref:
        found.add(spec.workspace.secret_ref.name)
    if stage is Stage.PUBLISH:
        found.update(_target_secrets(spec))
    return tuple(sorted(found))


def _judge_secrets(spec: DistillationJobSpec) -> set[str]:
    """Return the Secrets with the keys of the judge's servers."""
    judge = spec.evaluation.judge
    servers = [judge.endpoint, judge.embeddings] if judge else []
    refs = [server.api_key_secret_ref for server in servers if server]
    return {ref.name for ref in refs if ref}


USES_ENDPOINT: Final = frozenset(stage for stage, parts in READS.items() if "teacher" in parts)


def claims(spec: DistillationJobSpec, stage: Stage) -> Mapping[str, bool]:
    """Return the claims named by `pvc://` URIs and targets: name to whether it is only read."""
    found = {claim(source.uri): True for source in sources(spec, stage) if _on_claim(source)}
    if stage is Stage.PUBLISH:
        found |= {target.pvc.claim_name: False for target in spec.publish if target.pvc}
    return dict(sorted(found.items()))


def hub(spec: DistillationJobSpec, stage: Stage) -> bool:
    """Tell whether a stage talks to the Hugging Face hub."""
    publishes = stage is Stage.PUBLISH and any(target.hugging_face for target in spec.publish)
    return publishes or any(source.uri.startswith("hf://") for source in sources(spec, stage))


def sources(spec: DistillationJobSpec, stage: Stage) -> Iterator[Source]:
    """Yield the models and data that a stage fetches by URI."""
    by_part: Mapping[str, tuple[Source | None, ...]] = {
        "teacher": (spec.teacher.model,),
        "student": (spec.student.model,),
        "data": (spec.data.source,),
        "production": (spec.data.production_sample,),
        "tokenizer": (
            spec.student.model if _compares_tokens(spec) else None,
            spec.teacher.endpoint.tokenizer if spec.teacher.endpoint else None,
        ),
    }
    for part in READS[stage]:
        yield from (source for source in by_part[part] if source is not None)


def _compares_tokens(spec: DistillationJobSpec) -> bool:
    """Tell whether student and teacher have to number their tokens alike."""
    recipe = spec.recipe.generator or spec.recipe.query_transform
    return bool(recipe and (recipe.logits or recipe.hidden_states or recipe.attentions))


def claim(uri: str) -> str:
    """Return the claim of a `pvc://claim/path` URI."""
    return uri.removeprefix("pvc://").split("/", 1)[0]


def _on_claim(source: Source) -> bool:
    return source.uri.startswith("pvc://")


def _target_secrets(spec: DistillationJobSpec) -> Iterator[str]:
    for target in spec.publish:
        for place in (target.oci, target.s3, target.hugging_face):
            if place is not None and place.secret_ref is not None:
                yield place.secret_ref.name
        if target.oci is not None and target.oci.sign is not None:
            yield target.oci.sign.secret_ref.name
