"""An encoder-decoder student, T5 and its like: loaded, cut out of its teacher, saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from distill_api.names import Reason
from distill_api.student import FromTeacher
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

from distill_trainer.errors import BadInput, last_line
from distill_trainer.students import slicing

CUT: Final = frozenset({"t5", "mt5"})
"""Model types whose blocks are alike but for the first one's table of distances."""
TABLE: Final = "{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


@dataclass(frozen=True, slots=True)
class Seq2Seq:
    """An encoder-decoder language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any

    @property
    def ends(self) -> list[int]:
        """Token ids at which a text ends."""
        return [int(self.tokenizer.eos_token_id)]

    @property
    def start(self) -> int:
        """Token id that the decoder begins with."""
        return int(self.model.config.decoder_start_token_id)

    @property
    def positions(self) -> int | None:
        """Longest sequence in tokens; None where nothing limits it, as with T5's distances."""
        found = getattr(self.model.config, "max_position_embeddings", None)
        return int(found) if found else None

    @property
    def known(self) -> int:
        """Tokens that the tokenizer knows; T5's head has 28 rows more."""
        return int(max(self.tokenizer.get_vocab().values())) + 1

    def states(self, source: Tensor, mask: Tensor, written: Tensor) -> Tensor:
        """Run all but the head: the decoder's last states [rows, written, width].

        source, mask: int64 [rows, read]. written: int64 [rows, written], the start token first.
        """
        read = self.model.get_encoder()(input_ids=source, attention_mask=mask).last_hidden_state
        seen = self.model.get_decoder()(
            input_ids=written,
            encoder_hidden_states=read,
            encoder_attention_mask=mask,
            use_cache=False,
        )
        states: Tensor = seen.last_hidden_state
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of states [..., width], scaled and shifted as the model does it."""
        config = self.model.config
        if getattr(config, "scale_decoder_outputs", False):
            hidden = hidden * config.d_model**-0.5
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        bias = getattr(self.model, "final_logits_bias", None)
        return logits if bias is None else logits + bias


def load(folder: Path, *, trust: bool = False) -> Seq2Seq:
    """Load a model in float32 on the CPU, whatever its weights are stored in.

    T5's activations overflow in float16, whose weights are nevertheless often published.
    Raises BadInput where it is no encoder-decoder that we can run.
    """
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(
            str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the model cannot be loaded as an encoder-decoder ({last_line(error)}): a folder with"
            " config.json, safetensors and a tokenizer of a T5-like model is expected; for a"
            " decoder-only one set student.architecture to Causal",
        ) from error
    made = Seq2Seq(model.eval(), tokenizer)
    _check_tokens(made)
    _check_head(made)
    return made


def is_one(folder: Path, *, trust: bool = False) -> bool:
    """Tell whether a folder holds an encoder-decoder, by its configuration alone."""
    try:
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except (OSError, ValueError, KeyError):
        return False  # whoever loads it says what is wrong
    return bool(getattr(config, "is_encoder_decoder", False))


def _check_tokens(model: Seq2Seq) -> None:
    """Refuse a model without the tokens that begin, end and pad a text."""
    tokenizer, config = model.tokenizer, model.model.config
    missing = [name for name, value in (
        ("eos_token in tokenizer_config.json", tokenizer.eos_token_id),
        ("pad_token in tokenizer_config.json", tokenizer.pad_token_id),
        ("decoder_start_token_id in config.json", config.decoder_start_token_id),
    ) if value is None]  # fmt: skip
    if missing:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the encoder-decoder cannot begin, end or pad a text: set {', '.join(missing)}",
        )


def _check_head(model: Seq2Seq) -> None:
    """Refuse an architecture whose logits we would compute in another way than it does."""
    source = torch.tensor([[0, 1, model.ends[0]]])
    mask, written = torch.ones_like(source), torch.tensor([[model.start, 1]])
    with torch.no_grad():
        own = model.model(input_ids=source, attention_mask=mask, decoder_input_ids=written).logits
        ours = model.logits(model.states(source, mask, written))
    if own.shape != ours.shape or not torch.allclose(own, ours, rtol=1e-4, atol=1e-4):
        raise BadInput(
            Reason.BAD_MODEL,
            f"models of type {model.model.config.model_type} change their logits in a way that is"
            " not known here: use a model of another architecture, such as T5, mT5 or BART",
        )


def cut(teacher: Seq2Seq, wanted: FromTeacher) -> Seq2Seq:
    """Make the student out of the same layers of the teacher's encoder and decoder.

    Raises BadInput for another architecture, a width, or a layer that is not there.
    """
    config = teacher.model.config
    _refuse_cut(config, wanted)
    weights = slicing.keep_layers(teacher.model.state_dict(), wanted.keep_layers)
    for stack in ("encoder", "decoder"):
        # Only the first block has it, and all others use it, whichever is kept.
        name = TABLE.format(stack=stack)
        weights[name] = teacher.model.state_dict()[name]
    smaller = type(config).from_dict(config.to_dict())
    smaller.num_layers = smaller.num_decoder_layers = len(wanted.keep_layers)
    smaller.dropout_rate = 0.0
    made = AutoModelForSeq2SeqLM.from_config(smaller, dtype=torch.float32)
    made.load_state_dict(weights)
    made.generation_config = teacher.model.generation_config
    return Seq2Seq(made.eval(), teacher.tokenizer)


def _refuse_cut(config: Any, wanted: FromTeacher) -> None:
    if config.model_type not in CUT:
        raise BadInput(
            Reason.BAD_MODEL,
            f"a student cannot be cut out of an encoder-decoder of type {config.model_type}, only"
            f" out of {' or '.join(sorted(CUT))}: name student.model instead",
        )
    if wanted.hidden_size or wanted.intermediate_size:
        raise BadInput(
            Reason.BAD_RECIPE,
            "student.fromTeacher.hiddenSize and intermediateSize cannot be cut out of an"
            " encoder-decoder: remove both, and keep fewer layers instead",
        )
    layers = min(config.num_layers, config.num_decoder_layers)
    beyond = [layer for layer in wanted.keep_layers if layer >= layers]
    if beyond:
        raise BadInput(
            Reason.BAD_MODEL,
            f"student.fromTeacher.keepLayers names layer {beyond[0]}, and the teacher's encoder and"
            f" decoder have {layers} layers both: name some of 0 to {layers - 1}",
        )


def source_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids that the encoder reads, with those that the tokenizer adds."""
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def target_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids that the decoder writes, with the one that ends them."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, int(tokenizer.eos_token_id)]


def save(student: Seq2Seq, folder: Path, *, most: int) -> None:
    """Write a folder that AutoModelForSeq2SeqLM loads.

    most: tokens that `generate` writes at most by itself; the library's own 20 cut lists short.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = student.model.generation_config
    if settings is not None:
        settings.max_new_tokens = most
    student.model.save_pretrained(str(folder), safe_serialization=True)
    student.tokenizer.save_pretrained(str(folder))


def parameters(model: Seq2Seq) -> int:
    """Count the weights; tied ones once."""
    return sum(p.numel() for p in model.model.parameters())


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Put rows of ids in a tensor, padding behind them; returns ids and mask [rows, longest]."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
    lengths = torch.tensor([[len(row)] for row in rows], device=device)
    return ids, (torch.arange(longest, device=device) < lengths).long()
