"""The spec of a DistillationJob."""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from distill_api import not_yet, together
from distill_api.base import (
    DnsName,
    Model,
    NonNegativeInt,
    PositiveInt,
    Quantity,
    rule,
    rules,
)
from distill_api.exports import Export
from distill_api.outcome import Evaluation, Prices
from distill_api.pods import GpuResource, ImageReference, Labels, PullPolicy, Resources, Toleration
from distill_api.recipe import Component, Recipe
from distill_api.sources import Data, SecretRef, Student, Teacher
from distill_api.targets import ObjectStoreUri, Target
from distill_api.training import Quantize, Sweep, Training


class StageResources(Model):
    """Resources of single stages, where they differ from podTemplate.resources."""

    label: Resources | None = None
    """For the label stage."""
    prepare: Resources | None = None
    """For the prepare stage."""
    train: Resources | None = None
    """For the train stage."""
    quantize: Resources | None = None
    """For the quantize stage."""
    export: Resources | None = None
    """For the export stage."""
    engine: Resources | None = None
    """For the engine stage; its accelerators are export.tensorRT.gpus."""
    evaluate: Resources | None = None
    """For the evaluate stage."""
    publish: Resources | None = None
    """For the publish stage."""


class PodTemplate(Model):
    """The part of the pods that you may shape."""

    # Running jobs have a task's text in their pods: its fields keep their order.

    image: ImageReference | None = None
    """Trainer image; the operator's own by default."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16)] = []
    """Secrets that open the image's registry."""
    service_account_name: DnsName | None = None
    """Service account of the pods; the namespace's default one by default."""
    resources: Resources = Resources()
    """Resources of every stage."""
    stage_resources: StageResources = StageResources()
    """Resources of single stages."""
    gpu_resource: GpuResource = "nvidia.com/gpu"
    """Extended resource that `gpu` counts."""
    node_selector: Labels = {}
    """Labels of the nodes that may run the pods."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints that the pods accept."""
    runtime_class_name: DnsName | None = None
    """Container runtime of the pods."""
    labels: Labels = {}
    """More labels for the pods."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of tensor operations; the CPU limit or request rounded up by default. Fixed for a
    job, as the order of sums, and so the last bit of the weights, depends on it."""
    label_pods: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pods of the label stage. Each runs the teacher and takes pieces of the data until none is
    left; the labels are the same whatever their number."""


_WORKSPACE_RULE = rule(
    "(has(self.claimName) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
    " + (has(self.storageClassName) ? 1 : 0) <= 1",
    "workspace takes at most one of claimName (your volume), uri (an object store) and"
    " storageClassName (a volume made for the job)",
)


class LabelCache(Model):
    """Where labels are kept for other jobs with the same teacher and data."""

    model_config = rules(
        rule(
            "(has(self.claimName) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
            " + (has(self.disabled) && self.disabled ? 1 : 0) <= 1",
            "workspace.labelCache takes at most one of claimName, uri and disabled",
        )
    )

    claim_name: DnsName | None = None
    """Your PersistentVolumeClaim; by default one named `kubedistill-labels` is made in the
    namespace, which outlives the jobs. With workspace.uri the default is a folder `labels` below
    it instead."""
    uri: ObjectStoreUri | None = None
    """A prefix in an object store."""
    size: Quantity = "10Gi"
    """Size of the claim, when it is made."""
    disabled: bool = False
    """Keep labels in the job's own workspace only."""


class Workspace(Model):
    """Where the stages leave their results for each other."""

    model_config = rules(
        _WORKSPACE_RULE,
        rule(
            "!has(self.secretRef) || has(self.uri)",
            "workspace.secretRef opens an object store: give workspace.uri too, or remove it",
            at=".secretRef",
        ),
    )

    claim_name: DnsName | None = None
    """Your PersistentVolumeClaim. The job uses a folder of its own on it."""
    uri: ObjectStoreUri | None = None
    """A prefix in an object store, `s3://bucket/prefix` or `gs://bucket/prefix`."""
    secret_ref: SecretRef | None = None
    """Credentials for uri."""
    storage_class_name: DnsName | None = None
    """Class of the claim that is made for the job; the cluster's default by default."""
    size: Quantity = "10Gi"
    """Size of the claim that is made for the job."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] = "ReadWriteOnce"
    """Access mode of the claim that is made for the job."""
    label_cache: LabelCache = LabelCache()
    """Where labels are kept for other jobs."""


def _fixed_sentence(field: str) -> str:
    return (
        f"spec.{field} cannot change after creation, so that the result stays reproducible:"
        " create a new DistillationJob"
    )


def _fixed(field: str) -> dict[str, JsonValue]:
    """Return the schema extra of a field that cannot change after creation."""
    return {"x-kubernetes-validations": [rule("self == oldSelf", _fixed_sentence(field))]}


def _stays(field: str) -> dict[str, JsonValue]:
    """Return the rule that an optional field neither comes nor goes after creation.

    The field's own rule does not see that: it is only evaluated where both objects have it.
    """
    return rule(
        f"has(self.{field}) == has(oldSelf.{field})", _fixed_sentence(field), at=f".{field}"
    )


def _belongs(component: Component, member: str) -> dict[str, JsonValue]:
    """Return the rule that ties a component to its member of recipe."""
    others = [m for m in ("embedding", "reranker", "generator", "queryTransform") if m != member]
    none_else = " && ".join(f"!has(self.recipe.{other})" for other in others)
    return rule(
        f"self.component != '{component}' || (has(self.recipe.{member}) && {none_else})",
        f"component {component} needs recipe.{member} and no other member of recipe",
        at=".recipe",
    )


_ARCHITECTURES: Final = {
    Component.EMBEDDING: ("BiEncoder",),
    Component.RERANKER: ("BiEncoder", "LateInteraction", "CrossEncoder"),
    Component.GENERATOR: ("Causal",),
    Component.QUERY_TRANSFORM: ("Causal", "Seq2Seq"),
}
_RETRIEVAL: Final = ("R@1", "R@10", "nDCG@10", "AP", "AP@1000", "RR", "RR@10")
_MEASURES: Final = {
    Component.EMBEDDING: _RETRIEVAL,
    Component.RERANKER: _RETRIEVAL,
    Component.GENERATOR: (
        "Likelihood",
        "ROUGE-L",
        "TokenF1",
        "Faithfulness",
        "Relevancy",
        "ContextRecall",
    ),
    Component.QUERY_TRANSFORM: ("RecallLift",),
}


def _cel_list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _fitting_architecture(component: Component) -> dict[str, JsonValue]:
    fitting = _ARCHITECTURES[component]
    return rule(
        f"self.component != '{component}' || !has(self.student.architecture)"
        f" || self.student.architecture in {_cel_list(fitting)}",
        f"component {component} needs student.architecture {' or '.join(fitting)}",
        at=".student.architecture",
    )


def _fitting_measures(component: Component) -> dict[str, JsonValue]:
    fitting = _MEASURES[component]
    listed = _cel_list(fitting)
    return rule(
        f"self.component != '{component}' || ("
        f"(!has(self.evaluation.measures) || self.evaluation.measures.all(m, m in {listed})) && "
        f"(!has(self.evaluation.gates) || self.evaluation.gates.all(g, g.measure in {listed})))",
        f"component {component} is measured by {', '.join(fitting)}: remove the other measures"
        " and gates from evaluation",
        at=".evaluation",
    )


_SPEC_RULES = [
    *(_fitting_architecture(component) for component in Component),
    *(_fitting_measures(component) for component in Component),
    rule(
        "!has(self.student.embeddingDimension) || !has(self.recipe.embedding)"
        " || !has(self.recipe.embedding.matryoshka)"
        " || self.recipe.embedding.matryoshka.dimensions.all("
        "d, d <= self.student.embeddingDimension)",
        "recipe.embedding.matryoshka.dimensions must not be above student.embeddingDimension",
        at=".recipe.embedding.matryoshka.dimensions",
    ),
    _stays("quantize"),
    _stays("export"),
    _stays("sweep"),
    _belongs(Component.EMBEDDING, "embedding"),
    _belongs(Component.RERANKER, "reranker"),
    _belongs(Component.GENERATOR, "generator"),
    _belongs(Component.QUERY_TRANSFORM, "queryTransform"),
    rule(
        "!has(self.student.fromTeacher) || has(self.teacher.model)",
        "student.fromTeacher needs teacher.model: a teacher behind an endpoint gives no weights;"
        " name student.model instead",
        at=".student.fromTeacher",
    ),
    rule(
        "!has(self.recipe.embedding) || !has(self.recipe.embedding.marginMse)"
        " || self.data.hardNegatives.perQuery > 0",
        "recipe.embedding.marginMse learns from hard negatives: set data.hardNegatives.perQuery"
        " to 1 or more, or remove marginMse",
        at=".data.hardNegatives.perQuery",
    ),
]


_NUMBERED: Final = (
    "has(self.teacher.model)"
    " || (has(self.teacher.endpoint) && has(self.teacher.endpoint.tokenizer))"
)
"""Whether it is known which token an id of the teacher's stands for."""


def _logits_of_a_server(member: str) -> list[dict[str, JsonValue]]:
    """Ask for what distributions of a server need: numbered tokens, and a cache of them."""
    asked = f"!has(self.recipe.{member}) || !has(self.recipe.{member}.logits)"
    return [
        rule(
            f"{asked} || {_NUMBERED}",
            f"recipe.{member}.logits learns from the numbers of the teacher's tokens, and a server"
            " does not say which tokenizer they are of: name it in teacher.endpoint.tokenizer,"
            " or use outputs, which learns from the text",
            at=f".recipe.{member}.logits",
        ),
        rule(
            f"{asked} || has(self.teacher.model) || self.teacher.sampling.topLogprobs > 0",
            f"recipe.{member}.logits needs the teacher's log-probabilities: set"
            " teacher.sampling.topLogprobs to 1 or more, as an endpoint cannot run while training",
            at=".teacher.sampling.topLogprobs",
        ),
    ]


_ON_POLICY: Final = (
    "has(self.recipe.generator) && has(self.recipe.generator.logits)"
    " && has(self.recipe.generator.logits.onPolicy)"
)
_GENERATOR_RULES: Final = [
    rule(
        f"!({_ON_POLICY}) || has(self.teacher.model)",
        "recipe.generator.logits.onPolicy has the teacher score texts that the student wrote, in"
        " every such step, and an endpoint tells no distribution for a given text: name"
        " teacher.model, or remove onPolicy",
        at=".recipe.generator.logits.onPolicy",
    ),
    rule(
        f"!({_ON_POLICY}) || self.recipe.generator.logits.onPolicy.share < 1.0"
        " || !has(self.recipe.generator.outputs)",
        "recipe.generator.outputs learns from the teacher's answers, and with"
        " logits.onPolicy.share 1 no step has any: lower share, or remove outputs",
        at=".recipe.generator.logits.onPolicy.share",
    ),
    rule(
        f"!({_ON_POLICY}) || self.training.distributed.strategy == 'DDP'",
        "recipe.generator.logits.onPolicy writes with the whole student in each process: use"
        " training.distributed.strategy DDP",
        at=".training.distributed.strategy",
    ),
    *_logits_of_a_server("generator"),
    rule(
        "!has(self.teacher.endpoint) || !has(self.teacher.endpoint.tokenizer)"
        " || self.component in ['Generator', 'QueryTransform']",
        "teacher.endpoint.tokenizer is for teachers that write (Generator, QueryTransform): remove"
        " it",
        at=".teacher.endpoint.tokenizer",
    ),
    rule(
        "!has(self.recipe.generator) || has(self.teacher.model)"
        " || (!has(self.recipe.generator.hiddenStates) && !has(self.recipe.generator.attentions))",
        "recipe.generator.hiddenStates and attentions look into the teacher, and an endpoint shows"
        " nothing of that: name teacher.model, or remove them",
        at=".recipe.generator",
    ),
    rule(
        "has(self.teacher.model)"
        " || ((!has(self.evaluation.measures) || !('Likelihood' in self.evaluation.measures))"
        " && (!has(self.evaluation.gates)"
        " || !self.evaluation.gates.exists(g, g.measure == 'Likelihood')))",
        "Likelihood compares with the teacher's own probabilities, and an endpoint tells none for a"
        " given text: name teacher.model, or remove Likelihood from evaluation",
        at=".evaluation",
    ),
    rule(
        "self.component != 'Generator'"
        f" || (({_NUMBERED}) && self.teacher.sampling.topLogprobs > 0)"
        " || (!self.data.balanceByDifficulty && !has(self.data.filter.minTeacherConfidence)"
        " && !has(self.data.filter.outlierDeviations))",
        "data.balanceByDifficulty, filter.minTeacherConfidence and outlierDeviations go by the"
        " probabilities of the teacher's own answers: set teacher.sampling.topLogprobs to 1 or more"
        " with a teacher.model or teacher.endpoint.tokenizer, or remove them",
        at=".data",
    ),
    rule(
        "self.teacher.sampling.answersPerPrompt == 1 || self.teacher.sampling.temperature > 0.0",
        "several answers to a prompt are all the same at temperature 0: raise"
        " teacher.sampling.temperature, or set answersPerPrompt to 1",
        at=".teacher.sampling.temperature",
    ),
]


_IS_SEQ2SEQ: Final = "has(self.student.architecture) && self.student.architecture == 'Seq2Seq'"
_QUERY_TRANSFORM_RULES: Final = [
    *_logits_of_a_server("queryTransform"),
    rule(
        "!has(self.recipe.queryTransform) || has(self.teacher.model)"
        " || (!has(self.recipe.queryTransform.hiddenStates)"
        " && !has(self.recipe.queryTransform.attentions))",
        "recipe.queryTransform.hiddenStates and attentions look into the teacher, and an endpoint"
        " shows nothing of that: name teacher.model, or remove them",
        at=".recipe.queryTransform",
    ),
    rule(
        f"!has(self.recipe.queryTransform) || !({_IS_SEQ2SEQ})"
        " || !has(self.recipe.queryTransform.logits) || self.teacher.sampling.topLogprobs > 0",
        "recipe.queryTransform.logits of a Seq2Seq student learns from cached distributions: set"
        " teacher.sampling.topLogprobs to 1 or more, or use outputs",
        at=".teacher.sampling.topLogprobs",
    ),
]


_WRITES: Final = "self.component in ['Generator', 'QueryTransform']"
_BENCHMARK_RULES: Final = [
    rule(
        f"!has(self.evaluation.benchmark) || !({_WRITES}) || has(self.evaluation.benchmark.vllm)",
        "evaluation.benchmark of a Generator or QueryTransform measures vLLM: add benchmark.vllm"
        " with the image that a rollout will have as deployment.image",
        at=".evaluation.benchmark",
    ),
    rule(
        f"!has(self.evaluation.benchmark) || {_WRITES} || !has(self.evaluation.benchmark.vllm)",
        "evaluation.benchmark.vllm, with its limits of tokens, is for what writes (Generator,"
        " QueryTransform): remove it; Embedding and Reranker students are served by kubedistill's"
        " own server",
        at=".evaluation.benchmark.vllm",
    ),
]


_EXPORT_RULES: Final = [
    rule(
        "!has(self.export) || !has(self.export.tensorRT)"
        " || self.component in ['Embedding', 'Reranker']",
        "export.tensorRT builds engines of Embedding and Reranker students; what writes is served"
        " by vLLM: remove tensorRT",
        at=".export.tensorRT",
    ),
    rule(
        "!has(self.export) || !has(self.export.tritonRepository) || has(self.export.onnx)"
        " || (has(self.quantize) && self.quantize.method == 'INT8')",
        "export.tritonRepository serves an ONNX graph: add export.onnx, or quantize with method"
        " INT8",
        at=".export.tritonRepository",
    ),
    rule(
        "!has(self.export) || !has(self.export.tritonRepository)"
        " || (self.component in ['Embedding', 'Reranker'] && (!has(self.student.architecture)"
        " || self.student.architecture != 'LateInteraction'))",
        "export.tritonRepository serves embeddings and scores, of Embedding students and of"
        " Rerankers other than LateInteraction: remove tritonRepository; what writes is served by"
        " vLLM",
        at=".export.tritonRepository",
    ),
]


_IS_CROSS_ENCODER: Final = (
    "has(self.student.architecture) && self.student.architecture == 'CrossEncoder'"
)
_RERANKER_RULES: Final = [
    rule(
        f"!({_IS_CROSS_ENCODER}) || !has(self.student.embeddingDimension)",
        "student.embeddingDimension is for students that make embeddings, and a CrossEncoder makes"
        " none: remove it",
        at=".student.embeddingDimension",
    ),
    rule(
        f"!({_IS_CROSS_ENCODER}) || !has(self.student.fromTeacher)"
        " || (!has(self.student.fromTeacher.hiddenSize)"
        " && !has(self.student.fromTeacher.intermediateSize))",
        "a CrossEncoder student keeps its teacher's widths: remove student.fromTeacher.hiddenSize"
        " and intermediateSize, and keep fewer layers instead",
        at=".student.fromTeacher",
    ),
    rule(
        "!has(self.recipe.reranker) || !has(self.recipe.reranker.contrastive)"
        " || !self.recipe.reranker.contrastive.symmetric || !has(self.student.architecture)"
        " || self.student.architecture == 'BiEncoder'",
        "recipe.reranker.contrastive.symmetric needs student.architecture BiEncoder: set it to"
        " false",
        at=".recipe.reranker.contrastive.symmetric",
    ),
]


class DistillationJobSpec(Model):
    """What is distilled, from whom, from what, how, and where the student goes."""

    model_config = rules(
        *_SPEC_RULES,
        *_GENERATOR_RULES,
        *_QUERY_TRANSFORM_RULES,
        *_RERANKER_RULES,
        *_EXPORT_RULES,
        *_BENCHMARK_RULES,
        *together.RULES,
        *not_yet.RULES,
    )

    component: Annotated[Component, Field(json_schema_extra=_fixed("component"))]
    """The part of a retrieval pipeline that is distilled."""
    teacher: Annotated[Teacher, Field(json_schema_extra=_fixed("teacher"))]
    """The large model whose knowledge is transferred."""
    student: Annotated[Student, Field(json_schema_extra=_fixed("student"))]
    """The small model that learns."""
    data: Annotated[Data, Field(json_schema_extra=_fixed("data"))]
    """What is learnt from."""
    recipe: Annotated[Recipe, Field(json_schema_extra=_fixed("recipe"))]
    """The losses."""
    training: Annotated[Training, Field(json_schema_extra=_fixed("training"))]
    """How the student is trained."""
    quantize: Annotated[Quantize | None, Field(json_schema_extra=_fixed("quantize"))] = None
    """Make the weights smaller after training; not by default."""
    export: Annotated[Export | None, Field(json_schema_extra=_fixed("export"))] = None
    """Write the student in other forms, too; not by default."""
    sweep: Annotated[Sweep | None, Field(json_schema_extra=_fixed("sweep"))] = None
    """Train several students and keep the best; one by default."""
    evaluation: Annotated[Evaluation, Field(json_schema_extra=_fixed("evaluation"))] = Evaluation()
    """How the student is measured against its teacher."""
    publish: Annotated[
        list[Target], Field(min_length=1, max_length=8, json_schema_extra=_fixed("publish"))
    ]
    """Where the student goes; the first entry is the one in status.artifact."""
    workspace: Annotated[Workspace, Field(json_schema_extra=_fixed("workspace"))] = Workspace()
    """Where the stages leave their results for each other."""
    pod_template: PodTemplate = PodTemplate()
    """Shape of the pods. A change reaches the stages that have not started."""
    prices: Prices = Prices()
    """What things cost."""
    suspend: bool = False
    """Stop the pods and wait; nothing that is complete is lost, training goes on from its last
    checkpoint."""
    queue_name: DnsName | None = None
    """LocalQueue of Kueue that admits the stages."""
    priority_class_name: DnsName | None = None
    """Priority of the pods."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Times a stage is tried again after a failure that may pass. Lost nodes and evictions do not
    count."""
    stage_deadline_seconds: PositiveInt | None = None
    """Longest time of one stage in seconds; none by default."""
    ttl_seconds_after_finished: NonNegativeInt | None = None
    """Delete this object, its pods and its workspace so many seconds after it finished. What was
    published stays."""
