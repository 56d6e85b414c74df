"""What must fit together in the spec of a DistillationJob: rules that no single field can tell.

The API server checks them, so that what cannot work is refused by `kubectl apply`.
"""

from typing import Final

from pydantic import JsonValue

from distill_api import not_yet, together
from distill_api.base import rule
from distill_api.recipe import Component


def _fixed_sentence(field: str) -> str:
    return (
        f"spec.{field} cannot change after creation, so that the result stays reproducible:"
        " create a new DistillationJob"
    )


def fixed(field: str) -> dict[str, JsonValue]:
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


def _mapped(member: str, loss: str) -> dict[str, JsonValue]:
    """Return the rule that a map of layers has an entry for each layer that a student keeps."""
    match = f"self.recipe.{member}.{loss}"
    return rule(
        f"!has(self.recipe.{member}) || !has({match}) || !has({match}.layerMap)"
        " || !has(self.student.fromTeacher)"
        f" || {match}.layerMap.size() == self.student.fromTeacher.keepLayers.size()",
        f"recipe.{member}.{loss}.layerMap needs one teacher layer for each of"
        " student.fromTeacher.keepLayers",
        at=f".recipe.{member}.{loss}.layerMap",
    )


_GENERATOR_RULES: Final = [
    *(
        _mapped(member, loss)
        for member in ("generator", "queryTransform")
        for loss in ("hiddenStates", "attentions")
    ),
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


RULES: Final = [
    *_SPEC_RULES,
    *_GENERATOR_RULES,
    *_QUERY_TRANSFORM_RULES,
    *_RERANKER_RULES,
    *_EXPORT_RULES,
    *_BENCHMARK_RULES,
    *together.RULES,
    *not_yet.RULES,
]
"""All rules of the spec, in the order in which the definition lists them."""
