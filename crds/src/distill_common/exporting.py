"""A whole model of sentence-transformers as one function, and that function as an ONNX graph."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
from transformers import PreTrainedModel

from distill_common.graphs import EMBEDDING, OPSET, SCORE, TOKENS

type Loaded = SentenceTransformer | MultiVectorEncoder | CrossEncoder
type Features = Mapping[str, NDArray[np.int64]]
"""Tokens by input: int64 [batch, length]."""
type Axes = Mapping[int, str]
"""Axes that any size may have, with their names."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives, by name and in its order."""

    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]


@dataclass(frozen=True, slots=True)
class Part:
    """A module, what it is traced by, and how its graph is called."""

    module: torch.nn.Module
    tensors: tuple[torch.Tensor, ...]
    signature: Signature


class Pipeline(torch.nn.Module):
    """Body, pooling, linear layer and normalising of an embedding model; all of a reranker."""

    def __init__(self, model: Loaded, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return [batch, width]; a cross-encoder's width is 1.

        Of a model that embeds each token: [batch, length, width], padding included.

        tensors: int64 [batch, length], in the order of names.
        """
        return finish(self.model, self.model(dict(zip(self.names, tensors, strict=True))))


def output_name(model: Loaded) -> str:
    """Name the result in a graph."""
    if isinstance(model, MultiVectorEncoder):
        return TOKENS
    return SCORE if isinstance(model, CrossEncoder) else EMBEDDING


def finish(model: Loaded, features: Mapping[str, Any]) -> torch.Tensor:
    """Take the result out of what the modules left."""
    if not isinstance(model, CrossEncoder):
        vectors: torch.Tensor = features[output_name(model)]
        return vectors
    return activate(model, features["scores"])


def activate(model: CrossEncoder, logits: torch.Tensor) -> torch.Tensor:
    """Turn a classifier's logits into scores [batch, 1], by the model's own activation."""
    scores: torch.Tensor = model.activation_fn(logits)
    return scores.reshape(-1, 1)


def export(model: Loaded, sample: Features, target: Path, *, opset: int = OPSET) -> None:
    """Write the model's graph, whose batch and length are free.

    sample: a batch of at least 2 sequences of at least 2 tokens, by which the graph is traced. By
    the TorchScript exporter: the one by torch.export takes half a minute for what this one does in
    a second, and every graph is held against torch before it serves.
    """
    names = list(sample)
    tensors = tuple(torch.from_numpy(rows).to(model.device) for rows in sample.values())
    with _attention_written_out(model):
        part = Part(Pipeline(model, names), tensors, signature(model, names))
        trace(part, target, opset=opset)


def signature(model: Loaded, names: Sequence[str]) -> Signature:
    """Return what a model's graph takes, by these names, and gives."""
    texts: Axes = {0: "batch", 1: "length"}
    output = output_name(model)
    return Signature(
        inputs=dict.fromkeys(names, texts),
        outputs={output: texts if output == TOKENS else {0: "batch"}},
    )


@contextmanager
def _attention_written_out(model: Loaded) -> Iterator[None]:
    """Let attention be plain products: torch's own kernel guards tokens that see no other.

    In a graph that guard is two more passes over each layer's weights of attention, a twentieth of
    an INT8 MiniLM's time; a text always has a token to see.
    """
    bodies = [one for one in model.modules() if isinstance(one, PreTrainedModel)]
    before = [one.config._attn_implementation for one in bodies]  # noqa: SLF001 - no other says
    for body in bodies:
        body.set_attn_implementation("eager")
    try:
        yield
    finally:
        for body, attention in zip(bodies, before, strict=True):
            body.set_attn_implementation(attention)


def trace(part: Part, target: Path, *, opset: int, fold: bool = True) -> None:
    """Write the graph of a module as it runs on some tensors, the inputs in their order.

    fold: write weights transposed where layers read them so, as quantisers want them. Without it
    what two layers share is written once, and the runtime transposes when it loads.
    """
    signature = part.signature
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part.module.eval(),
            part.tensors,
            str(target),
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_axes={**signature.inputs, **signature.outputs},
            opset_version=opset,
            do_constant_folding=fold,
            dynamo=False,
        )
        made = part.module(*part.tensors)
    outputs = made if isinstance(made, tuple) else (made,)
    _state_sizes(target, signature, [tuple(one.shape) for one in outputs])


def _state_sizes(target: Path, signature: Signature, shapes: Sequence[tuple[int, ...]]) -> None:
    """Write the sizes of the outputs' fixed axes down, where the exporter only made up a name."""
    graph = onnx.load(str(target), load_external_data=False)
    for output, axes, shape in zip(
        graph.graph.output, signature.outputs.values(), shapes, strict=True
    ):
        for axis, size in enumerate(shape):
            if axis not in axes:
                output.type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(graph, str(target))
