"""What the student learns and how it is weighed: losses for the four components."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from distill_api.base import Fraction, Model, listed_once, rule, rules

Weight = Annotated[float, Field(ge=0, le=1000)]
Dimensions = Annotated[
    list[Annotated[int, Field(ge=2, le=65536)]],
    Field(
        min_length=1,
        max_length=16,
        json_schema_extra=listed_once(
            **{
                "x-kubernetes-validations": [
                    rule(
                        "self.map(d, 0 - d).isSorted()",
                        "matryoshka.dimensions must be in falling order, the full width first",
                    )
                ]
            }
        ),
    ),
]


class Component(StrEnum):
    """The part of a retrieval pipeline that is distilled."""

    EMBEDDING = "Embedding"
    RERANKER = "Reranker"
    GENERATOR = "Generator"
    QUERY_TRANSFORM = "QueryTransform"


class Contrastive(Model):
    """NT-Xent: pull each query to its document, away from the other documents of the batch."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    temperature: Annotated[float, Field(ge=0.001, le=10)] = 0.05
    """Divides the cosine similarities; the guide's 0.05 to 0.07."""
    symmetric: bool = False
    """Also from each document to its query."""


class TeacherContrastive(Model):
    """NT-Xent between a text's student embedding and the teacher's embeddings of the batch."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    temperature: Annotated[float, Field(ge=0.001, le=10)] = 0.05
    """Divides the cosine similarities."""


class ToTeacherSpace(Model):
    """Distance of the student's embedding to the teacher's of the same text.

    Where the widths differ a linear projection is trained beside the student.
    """

    weight: Weight = 1.0
    """Factor of this loss in the sum."""


class Matryoshka(Model):
    """Apply the other losses to the first dimensions of the embedding too, so it can be cut."""

    dimensions: Dimensions
    """Widths in falling order, each at most the student's embedding dimension."""
    weights: Annotated[list[Weight], Field(max_length=16)] | None = None
    """Factor of each width; 1 by default."""


class MarginMse(Model):
    """Match the teacher's margin between the positive and a mined hard negative."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""


def _some_loss(subject: str, *losses: str, note: str = "") -> dict[str, JsonValue]:
    """Return the rule that at least one of the losses is there with a weight above 0."""
    present = (f"(has(self.{loss}) && self.{loss}.weight > 0.0)" for loss in losses)
    listed = ", ".join(losses[:-1]) + f" or {losses[-1]}"
    return rule(
        " || ".join(present),
        f"{subject} needs at least one loss with a weight above 0: {listed}{note}",
    )


_EMBEDDING_RULES = [
    _some_loss(
        "recipe.embedding",
        "contrastive",
        "teacherContrastive",
        "mse",
        "cosine",
        "marginMse",
        note=" (matryoshka only repeats them at smaller widths)",
    ),
    rule(
        "!has(self.matryoshka) || !has(self.matryoshka.weights)"
        " || self.matryoshka.weights.size() == self.matryoshka.dimensions.size()",
        "recipe.embedding.matryoshka.weights must have one number for each of dimensions",
    ),
]


class EmbeddingRecipe(Model):
    """Losses of an embedding student; those that are present are added up by weight."""

    model_config = rules(*_EMBEDDING_RULES)

    contrastive: Contrastive | None = None
    """Queries against documents, in-batch negatives."""
    teacher_contrastive: TeacherContrastive | None = None
    """Student against teacher embeddings (the guide's embedding_distillation_loss)."""
    mse: ToTeacherSpace | None = None
    """Mean squared error to the teacher's embedding."""
    cosine: ToTeacherSpace | None = None
    """1 - cosine to the teacher's embedding."""
    matryoshka: Matryoshka | None = None
    """Widths at which the embedding can be cut."""
    margin_mse: MarginMse | None = None
    """The teacher's margins on mined hard negatives; needs data.hardNegatives.perQuery >= 1."""


class HingeMargin(Model):
    """relu(teacher margin - student margin + margin), with the margin growing over training."""

    model_config = rules(
        rule(
            "self.marginStart <= self.marginEnd",
            "hingeMargin.marginEnd must not be below marginStart, as the margin grows",
            at=".marginEnd",
        )
    )

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    margin_start: Annotated[float, Field(ge=0, le=100)] = 0.3
    """Margin at the first step; the guide's 0.3."""
    margin_end: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Margin at the last step."""


class Softened(Model):
    """A divergence of distributions softened by a temperature."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    temperature: Annotated[float, Field(ge=0.1, le=100)] = 4.0
    """Softens both distributions; the loss is multiplied by its square. The guide's 3 to 20."""


class RerankerRecipe(Model):
    """Losses of a reranker student."""

    model_config = rules(
        _some_loss("recipe.reranker", "marginMse", "hingeMargin", "listwiseKl", "contrastive")
    )

    margin_mse: MarginMse | None = None
    """Mean squared error of score margins."""
    hinge_margin: HingeMargin | None = None
    """At least the teacher's margin."""
    listwise_kl: Softened | None = None
    """KL divergence of the ranking's softmax."""
    contrastive: Contrastive | None = None
    """In-batch negatives."""


class Divergence(StrEnum):
    """Direction of the divergence between teacher and student."""

    FORWARD_KL = "ForwardKL"
    REVERSE_KL = "ReverseKL"
    JENSEN_SHANNON = "JensenShannon"


class OnPolicy(Model):
    """In some of the steps the student answers, and the teacher scores what it wrote."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the steps, spread evenly; the others learn from the teacher's answers."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Softness of the student's sampling."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] | None = None
    """Longest answer of the student in tokens; teacher.sampling.maxTokens by default."""


class Logits(Softened):
    """Match the teacher's distribution over tokens, beside the hard labels."""

    model_config = rules(
        rule(
            "!has(self.beta) || self.divergence == 'JensenShannon'",
            "logits.beta is the mixture of divergence JensenShannon: set that, or remove beta",
            at=".beta",
        )
    )

    alpha: Fraction = 0.7
    """Share of the teacher's distribution; 1 - alpha is the share of the hard labels."""
    divergence: Divergence = Divergence.FORWARD_KL
    """Direction of the divergence."""
    beta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The teacher's share of JensenShannon's mixture, 0.5 by default: near 0 as ForwardKL, near 1
    as ReverseKL."""
    on_policy: OnPolicy | None = None
    """Let the student write some of the answers that the teacher scores; none by default."""


class LayerMatch(Model):
    """Match states inside the models."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    layer_map: (
        Annotated[list[Annotated[int, Field(ge=0, le=511)]], Field(max_length=512)] | None
    ) = None
    """Teacher layer for each student layer; spread evenly by default."""


class Outputs(Model):
    """Cross-entropy on the teacher's answers (sequence-level distillation)."""

    weight: Weight = 1.0
    """Factor of this loss in the sum."""
    label_smoothing: Fraction = 0.0
    """Share of probability spread over all tokens."""


class GeneratorRecipe(Model):
    """Losses of a generator student."""

    model_config = rules(
        _some_loss("the recipe", "outputs", "logits", "hiddenStates", "attentions")
    )

    outputs: Outputs | None = None
    """The teacher's answers as hard labels."""
    logits: Logits | None = None
    """The teacher's distribution over tokens."""
    hidden_states: LayerMatch | None = None
    """Mean squared error of hidden states."""
    attentions: LayerMatch | None = None
    """Attention transfer."""


class QueryTransformTask(StrEnum):
    """What is done to a query."""

    EXPANSION = "Expansion"
    REWRITE = "Rewrite"


class QueryTransformRecipe(GeneratorRecipe):
    """Losses of a query transform student."""

    task: QueryTransformTask = QueryTransformTask.EXPANSION
    """Expansion: several reformulations. Rewrite: one that stands alone."""
    expansions: Annotated[int, Field(ge=1, le=16)] = 3
    """Reformulations for each query; the guide's 3 to 5."""


class Recipe(Model):
    """The losses: exactly the member that belongs to spec.component."""

    embedding: EmbeddingRecipe | None = None
    """For component Embedding."""
    reranker: RerankerRecipe | None = None
    """For component Reranker."""
    generator: GeneratorRecipe | None = None
    """For component Generator."""
    query_transform: QueryTransformRecipe | None = None
    """For component QueryTransform."""
