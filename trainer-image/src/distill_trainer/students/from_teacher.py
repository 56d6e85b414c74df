"""A student cut out of its teacher: some of the layers, and where asked narrower ones."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from distill_api.names import Reason
from distill_api.student import FromTeacher
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from distill_trainer.errors import BadInput
from distill_trainer.students import slicing

DROPOUTS = frozenset(
    {
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "attention_dropout",
        "embedding_dropout",
        "mlp_dropout",
    }
)
"""Names of dropout in the configurations of encoders."""


def cut(teacher: SentenceTransformer, wanted: FromTeacher) -> SentenceTransformer:
    """Make the student: the teacher's layers and pooling, then normalised where the teacher is.

    Its dropout is 0: it learns from a teacher's soft answers, which leave little to overfit, and
    attention without dropout runs on the fast kernels. Raises BadInput for an architecture that
    cannot be cut, a layer that is not there, or a width that does not fit.
    """
    body = teacher[0].auto_model
    smaller = _cut_body(body, wanted)
    modules = [_as_module(smaller, teacher), *_after_body(teacher, smaller.config.hidden_size)]
    return SentenceTransformer(
        modules=modules, device="cpu", similarity_fn_name=teacher.similarity_fn_name
    )


def _cut_body(body: PreTrainedModel, wanted: FromTeacher) -> PreTrainedModel:
    """Make the encoder with fewer layers and smaller widths."""
    config = body.config
    smaller = fewer_layers(body, wanted.keep_layers)
    weights = slicing.keep_layers(body.state_dict(), wanted.keep_layers)
    if wanted.hidden_size or wanted.intermediate_size:
        now, then = _widths(config, wanted)
        weights = slicing.narrow(weights, now, then)
        smaller.hidden_size, smaller.num_attention_heads = then.residual, then.heads
        smaller.intermediate_size = then.feed_forward
    made: PreTrainedModel = AutoModel.from_config(smaller, dtype=torch.float32)
    made.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return made


def fewer_layers(body: PreTrainedModel, kept: Sequence[int]) -> PretrainedConfig:
    """Return the configuration of a model that keeps some layers, without dropout.

    Raises BadInput where it cannot be cut or a layer is not there.
    """
    config = body.config
    _refuse_missing_layers(kept, _layers(body))
    smaller: PretrainedConfig = type(config).from_dict(config.to_dict())
    smaller.num_hidden_layers = len(kept)
    for dropout in (DROPOUTS | {"classifier_dropout"}) & set(smaller.to_dict()):
        setattr(smaller, dropout, 0.0)
    if getattr(smaller, "layer_types", None):
        smaller.layer_types = [config.layer_types[layer] for layer in kept]
    return smaller


def _layers(body: PreTrainedModel) -> int:
    """Count the layers of a plain encoder, whose layers can be told apart by name."""
    config = body.config
    expected = getattr(config, "num_hidden_layers", None)
    found = {slicing.layer_of(name) for name in body.state_dict()} - {None}
    if expected is None or found != set(range(expected)):
        raise BadInput(
            Reason.BAD_MODEL,
            f"a student cannot be cut out of a teacher of type {config.model_type}: its layers"
            " cannot be told apart by the names of its weights; name student.model instead of"
            " student.fromTeacher",
        )
    return int(expected)


def _refuse_missing_layers(kept: Sequence[int], layers: int) -> None:
    beyond = [layer for layer in kept if layer >= layers]
    if beyond:
        raise BadInput(
            Reason.BAD_MODEL,
            f"student.fromTeacher.keepLayers names layer {beyond[0]}, and the teacher has"
            f" {layers} layers: name some of 0 to {layers - 1}",
        )


def _widths(config: PretrainedConfig, wanted: FromTeacher) -> tuple[slicing.Widths, slicing.Widths]:
    """Widths now and then; refuses what cannot be sliced."""
    if config.model_type not in slicing.FAMILY:
        known = ", ".join(sorted(slicing.FAMILY))
        raise BadInput(
            Reason.BAD_MODEL,
            f"hiddenSize and intermediateSize can be sliced out of teachers of type {known}, and"
            f" this one is {config.model_type}: remove both, and keep fewer layers instead",
        )
    head_size = config.hidden_size // config.num_attention_heads
    now = slicing.Widths(
        config.hidden_size, config.num_attention_heads, head_size, config.intermediate_size
    )
    hidden = wanted.hidden_size or now.residual
    feed_forward = wanted.intermediate_size or now.feed_forward
    if hidden > now.residual or hidden % head_size or feed_forward > now.feed_forward:
        raise BadInput(
            Reason.BAD_MODEL,
            f"student.fromTeacher asks for hiddenSize {hidden} and intermediateSize"
            f" {feed_forward}; out of this teacher can be cut: hiddenSize a multiple of"
            f" {head_size} up to {now.residual}, intermediateSize up to {now.feed_forward}",
        )
    return now, slicing.Widths(hidden, hidden // head_size, head_size, feed_forward)


def _as_module(body: PreTrainedModel, teacher: SentenceTransformer) -> Transformer:
    """Wrap the encoder as a module of sentence-transformers, with the teacher's tokenizer."""
    with TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        teacher.tokenizer.save_pretrained(folder)
        # Its default would be the longest input that the positions allow.
        module = Transformer(str(Path(folder)), max_seq_length=teacher.max_seq_length)
    body.config._name_or_path = ""  # noqa: SLF001 - a folder that is gone
    return module


def _after_body(teacher: SentenceTransformer, width: int) -> list[torch.nn.Module]:
    """Pooling as the teacher pools, and normalising where it does.

    A teacher's own linear layers are left out: the losses' projections stand in for them.
    """
    modules = list(teacher)[1:]
    pooling = next((m for m in modules if isinstance(m, Pooling)), None)
    if pooling is None:
        raise BadInput(
            Reason.BAD_MODEL,
            "the teacher has no pooling of tokens, so its layers do not give one embedding for"
            " each text: name student.model instead of student.fromTeacher",
        )
    pooled = Pooling(width, pooling.pooling_mode, include_prompt=pooling.include_prompt)
    normalised = any(isinstance(m, Normalize) for m in modules)
    return [pooled, Normalize()] if normalised else [pooled]
