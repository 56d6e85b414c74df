"""A decoder-only student: loaded, or cut out of its teacher's layers, and saved to be served."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from distill_api.names import Reason
from distill_api.student import FromTeacher
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from distill_trainer.errors import BadInput, last_line
from distill_trainer.students import slicing
from distill_trainer.students.from_teacher import DROPOUTS


@dataclass(frozen=True, slots=True)
class Causal:
    """A causal language model and its tokenizer, which has a chat template."""

    model: PreTrainedModel
    tokenizer: Any

    @property
    def ends(self) -> list[int]:
        """Token ids at which an answer ends when the model is served."""
        config = self.model.generation_config
        told = config.eos_token_id if config is not None else None
        ids = told if isinstance(told, list) else [told]
        return [int(one) for one in [*ids, self.tokenizer.eos_token_id] if one is not None]

    @property
    def positions(self) -> int | None:
        """Longest sequence in tokens; None where nothing limits it."""
        found = getattr(self.model.config, "max_position_embeddings", None)
        return int(found) if found else None

    def body(self, **inputs: Any) -> Any:
        """Run all but the head; `last_hidden_state` is what the head reads."""
        return self.model.base_model(**inputs)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states [..., width], scaled and capped as the model does it.

        Gemma caps, Cohere and Falcon multiply, Granite divides: a distribution without that is
        another one.
        """
        config = self.model.config
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        if scale := getattr(config, "logits_scaling", None):
            logits = logits / scale
        for name in ("logit_scale", "lm_head_multiplier"):
            if (scale := getattr(config, name, None)) is not None:
                logits = logits * scale
        if cap := getattr(config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits


NO_WEIGHTS: Final = ("weight_", "input_", "output_")
"""How the names of scales, zero points and shapes begin that compressed-tensors leaves."""
LOADING: Final = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
"""What libraries raise for a folder that they cannot load."""


def load_tokenizer(folder: Path, *, trust: bool = False) -> Any:
    """Load a folder's tokenizer. Raises BadInput where it has none that we can run."""
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except LOADING as error:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the model's tokenizer cannot be loaded ({last_line(error)}): tokenizer.json and"
            " tokenizer_config.json are expected, as save_pretrained writes them",
        ) from error


def load(folder: Path, *, trust: bool = False, whole: bool = False) -> Causal:
    """Load a model in float32 on the CPU, whatever its weights are stored in.

    In their own bfloat16, steps of AdamW smaller than a weight's last bit would be lost. Quantised
    ones are dequantised: nothing here multiplies integers.
    whole: refuse a weight that is missing or that the model has no place for.
    Raises BadInput where it is no causal language model that we can run.
    """
    tokenizer = load_tokenizer(folder, trust=trust)
    model, told = _pretrained(folder, trust=trust)
    if whole:
        _check_whole(told)
    if tokenizer.eos_token_id is None:
        raise BadInput(
            Reason.BAD_MODEL,
            "the model's tokenizer has no end-of-sequence token, so an answer would never end: set"
            " eos_token in tokenizer_config.json",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    made = Causal(model.eval(), tokenizer)
    _check_head(made)
    return made


def _pretrained(folder: Path, *, trust: bool) -> tuple[Any, dict[str, Any]]:
    """Return the model, and what transformers tells about how its weights fitted."""
    try:
        with warnings.catch_warnings():
            # How to load is passed, and it says that what is in the file is kept beside that.
            warnings.filterwarnings("ignore", "You passed `quantization_config`")
            model, told = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust,
                output_loading_info=True,
                **_dequantised(folder),
            )
            return model, told
    except LOADING as error:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the model cannot be loaded as a causal language model ({last_line(error)}): a folder"
            " with config.json, safetensors and a tokenizer of an architecture that transformers"
            " knows is expected",
        ) from error


def _dequantised(folder: Path) -> dict[str, Any]:
    """Ask for float weights of a folder in compressed-tensors; nothing of any other."""
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config", {}).get("quant_method") != "compressed-tensors":
        return {}
    from transformers import CompressedTensorsConfig

    return {"quantization_config": CompressedTensorsConfig(dequantize=True)}


def _check_whole(told: Mapping[str, Any]) -> None:
    """Refuse files that are not this model's: transformers only warns, and writes garbage."""
    kinds = {"missing": "missing_keys", "unexpected": "unexpected_keys"}
    found = {kind: sorted(map(str, told.get(key) or ())) for kind, key in kinds.items()}
    found["of another shape"] = [str(one) for one in told.get("mismatched_keys") or ()]
    if any(found.values()):
        named = "; ".join(f"{kind}: {', '.join(keys[:3])}" for kind, keys in found.items() if keys)
        raise BadInput(
            Reason.BAD_MODEL,
            f"the model's files do not hold its weights ({named}): it would write garbage. Its"
            " architecture cannot be quantised with this release; remove spec.quantize",
        )


def _check_head(model: Causal) -> None:
    """Refuse an architecture whose logits we would compute in another way than it does."""
    ids = torch.tensor([[model.ends[0], 0, 1]])
    with torch.no_grad():
        own = model.model(input_ids=ids).logits
        ours = model.logits(model.body(input_ids=ids).last_hidden_state)
    if own.shape != ours.shape or not torch.allclose(own, ours, rtol=1e-4, atol=1e-4):
        kind = model.model.config.model_type
        raise BadInput(
            Reason.BAD_MODEL,
            f"models of type {kind} change their logits in a way that is not known here: use a"
            " model of another architecture, such as Llama, Qwen, Gemma, Mistral or Granite",
        )


def cut(teacher: Causal, wanted: FromTeacher) -> Causal:
    """Make the student out of some of the teacher's layers, with its tokenizer and head.

    Raises BadInput for a width, a layer that is not there, or layers that cannot be told apart.
    """
    if wanted.hidden_size or wanted.intermediate_size:
        raise BadInput(
            Reason.BAD_RECIPE,
            "student.fromTeacher.hiddenSize and intermediateSize cannot be cut out of a causal"
            " model: remove both, and keep fewer layers instead",
        )
    weights = teacher.model.state_dict()
    _refuse_layers(teacher.model, weights, wanted.keep_layers)
    config = teacher.model.config
    smaller = type(config).from_dict(config.to_dict())
    smaller.num_hidden_layers = len(wanted.keep_layers)
    for dropout in DROPOUTS & set(smaller.to_dict()):
        setattr(smaller, dropout, 0.0)
    if getattr(smaller, "layer_types", None):
        smaller.layer_types = [config.layer_types[layer] for layer in wanted.keep_layers]
    made = AutoModelForCausalLM.from_config(smaller, dtype=torch.float32)
    made.load_state_dict(slicing.keep_layers(weights, wanted.keep_layers))
    made.generation_config = teacher.model.generation_config
    return Causal(made.eval(), teacher.tokenizer)


def _refuse_layers(model: PreTrainedModel, weights: dict[str, Tensor], kept: Sequence[int]) -> None:
    layers = int(getattr(model.config, "num_hidden_layers", 0))
    found = {slicing.layer_of(name) for name in weights} - {None}
    if found != set(range(layers)):
        raise BadInput(
            Reason.BAD_MODEL,
            f"a student cannot be cut out of a teacher of type {model.config.model_type}: its"
            " layers cannot be told apart by the names of its weights; name student.model instead"
            " of student.fromTeacher",
        )
    beyond = [layer for layer in kept if layer >= layers]
    if beyond:
        raise BadInput(
            Reason.BAD_MODEL,
            f"student.fromTeacher.keepLayers names layer {beyond[0]}, and the teacher has"
            f" {layers} layers: name some of 0 to {layers - 1}",
        )


def save(student: Causal, folder: Path) -> None:
    """Write a folder that AutoModelForCausalLM and any server load: weights, tokenizer, template.

    The generation configuration goes with it, as it says where an answer ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    student.model.save_pretrained(str(folder), safe_serialization=True)
    student.tokenizer.save_pretrained(str(folder))


def parameters(model: Causal) -> int:
    """Count the weights; tied ones once, scales of quantised ones not at all."""
    return sum(
        p.numel()
        for name, p in model.model.named_parameters()
        if not name.rpartition(".")[2].startswith(NO_WEIGHTS)
    )
