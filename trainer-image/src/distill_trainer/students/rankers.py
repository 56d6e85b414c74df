"""The untrained reranker student of a recipe, by its architecture, and its folder."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from distill_api.names import Reason
from distill_api.student import FromTeacher, Student, StudentArchitecture
from distill_api.teacher import Prompts
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from torch import nn
from transformers import AutoModelForSequenceClassification

from distill_trainer.errors import BadInput
from distill_trainer.students import from_teacher, make, slicing

type Ranker = SentenceTransformer | MultiVectorEncoder | CrossEncoder

TOKEN_WIDTH = 128
"""Width of a token's embedding where the spec names none; ColBERT's."""


def architecture(wanted: Student) -> StudentArchitecture:
    """Return what the student is: BiEncoder by default."""
    return wanted.architecture or StudentArchitecture.BI_ENCODER


def make_ranker(
    wanted: Student, folder: Path, prompts: Prompts, *, max_length: int | None, seed: int
) -> Ranker:
    """Make the student of a spec.

    folder: weights of the teacher, a cross-encoder (fromTeacher), or of the student itself
    (model). Raises BadInput for a model or an architecture that cannot be used.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        match architecture(wanted):
            case StudentArchitecture.CROSS_ENCODER:
                made: Ranker = _cross_encoder(wanted, folder)
            case StudentArchitecture.LATE_INTERACTION:
                made = _late_interaction(wanted, folder)
            case _:
                made = _bi_encoder(wanted, folder, seed)
    if max_length is not None:
        make.set_length(made, max_length)
    if not isinstance(made, CrossEncoder):
        made.prompts = {"query": prompts.query, "document": prompts.document}
    return made


def load(folder: Path, kind: StudentArchitecture, *, trust: bool = False) -> Ranker:
    """Load a trained student in float32 on the CPU."""
    classes: dict[StudentArchitecture, Callable[..., Ranker]] = {
        StudentArchitecture.CROSS_ENCODER: CrossEncoder,
        StudentArchitecture.LATE_INTERACTION: MultiVectorEncoder,
    }
    return make.opened(classes.get(kind, SentenceTransformer), folder, trust=trust)


def _trusted(wanted: Student) -> bool:
    return bool(wanted.model and wanted.model.trust_remote_code)


def _bi_encoder(wanted: Student, folder: Path, seed: int) -> SentenceTransformer:
    if wanted.from_teacher is None:
        student = make.load(folder, trust=_trusted(wanted))
    else:
        student = from_teacher.cut(_body_of(folder), wanted.from_teacher)
    if wanted.embedding_dimension is not None:
        from distill_trainer.students import head

        head.add(student, wanted.embedding_dimension, seed=seed)
    return student


def _body_of(folder: Path) -> SentenceTransformer:
    """Read a cross-encoder's layers without its classifier, as a text encoder of mean pooling."""
    with TemporaryDirectory() as place:
        teacher = make.opened(CrossEncoder, folder, trust=False)
        whole = teacher.model
        assert whole is not None
        whole.base_model.save_pretrained(place)
        teacher.tokenizer.save_pretrained(place)
        body = Transformer(place, max_seq_length=teacher.max_seq_length)
    pooled = Pooling(int(body.get_embedding_dimension() or 0), "mean")
    return SentenceTransformer(modules=[body, pooled, Normalize()], device="cpu")


def _late_interaction(wanted: Student, folder: Path) -> MultiVectorEncoder:
    width = wanted.embedding_dimension or TOKEN_WIDTH
    if wanted.from_teacher is None:
        student = make.opened(MultiVectorEncoder, folder, trust=_trusted(wanted))
        _refuse_extras(student)
        _refuse_width(student, wanted.embedding_dimension)
        return student
    body = from_teacher.cut(_body_of(folder), wanted.from_teacher)[0]
    projection = Dense(
        int(body.get_embedding_dimension() or 0),
        width,
        bias=False,
        activation_function=nn.Identity(),
        module_input_name="token_embeddings",
    )
    return MultiVectorEncoder(
        modules=[
            body,
            projection,
            MultiVectorMask(),
            Normalize(module_input_name="token_embeddings"),
        ],
        device="cpu",
    )


def _refuse_width(student: MultiVectorEncoder, wanted: int | None) -> None:
    """Refuse another width than the model's own, whose projection is trained already."""
    width = student.get_embedding_dimension()
    if wanted is not None and width != wanted:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"student.embeddingDimension is {wanted}, and the late-interaction model gives each"
            f" token {width} dimensions: remove it, or take another model; student.fromTeacher"
            " makes a student of any width",
        )


def _refuse_extras(student: MultiVectorEncoder) -> None:
    """Refuse what depends on whether a text is a query while it runs through the layers."""
    expanded = any(getattr(module, "query_expansion", None) for module in student)
    skipping = any(getattr(module, "skiplist_words", None) for module in student)
    if expanded or skipping:
        raise BadInput(
            Reason.BAD_MODEL,
            "the late-interaction student expands its queries or skips words of documents, which"
            " cannot be trained here: start from a plain encoder, or from student.fromTeacher",
        )


def _cross_encoder(wanted: Student, folder: Path) -> CrossEncoder:
    if wanted.embedding_dimension is not None:
        raise BadInput(
            Reason.BAD_RECIPE,
            "student.embeddingDimension is for students that make embeddings, and a CrossEncoder"
            " makes none: remove it",
        )
    raw = {"num_labels": 1, "activation_fn": nn.Identity()}
    if wanted.from_teacher is None:
        return make.opened(CrossEncoder, folder, trust=_trusted(wanted), **raw)
    teacher = make.opened(CrossEncoder, folder, trust=False, **raw)
    return _cut(teacher, wanted.from_teacher)


def _cut(teacher: CrossEncoder, wanted: FromTeacher) -> CrossEncoder:
    """Keep some of a cross-encoder's layers, its classifier and its raw scores."""
    if wanted.hidden_size or wanted.intermediate_size:
        raise BadInput(
            Reason.BAD_RECIPE,
            "student.fromTeacher.hiddenSize and intermediateSize are not available for a"
            " CrossEncoder student: remove both, and keep fewer layers instead",
        )
    whole = teacher.model
    assert whole is not None
    smaller = from_teacher.fewer_layers(whole, wanted.keep_layers)
    weights = slicing.keep_layers(whole.state_dict(), wanted.keep_layers)
    body = AutoModelForSequenceClassification.from_config(smaller, dtype=torch.float32)
    body.load_state_dict({name: weight.float() for name, weight in weights.items()})
    with TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        teacher.tokenizer.save_pretrained(folder)
        made = CrossEncoder(
            folder, device="cpu", local_files_only=True, activation_fn=nn.Identity()
        )
    made.max_seq_length = teacher.max_seq_length
    return made
