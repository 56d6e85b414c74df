"""A whole model of sentence-transformers as one function, and that function as an ONNX graph."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer

from distill_common.graphs import EMBEDDING, OPSET, SCORE

type Loaded = SentenceTransformer | CrossEncoder
type Features = Mapping[str, NDArray[np.int64]]
"""Tokens by input: int64 [batch, length]."""


class Pipeline(torch.nn.Module):
    """Body, pooling, linear layer and normalising of an embedding model; all of a reranker."""

    def __init__(self, model: Loaded, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return [batch, width]; a reranker's width is 1.

        tensors: int64 [batch, length], in the order of names.
        """
        return finish(self.model, self.model(dict(zip(self.names, tensors, strict=True))))


def output_name(model: Loaded) -> str:
    """Name the result in a graph."""
    return SCORE if isinstance(model, CrossEncoder) else EMBEDDING


def finish(model: Loaded, features: Mapping[str, Any]) -> torch.Tensor:
    """Take the result [batch, width] out of what the modules left."""
    if not isinstance(model, CrossEncoder):
        vectors: torch.Tensor = features[EMBEDDING]
        return vectors
    return activate(model, features["scores"])


def activate(model: CrossEncoder, logits: torch.Tensor) -> torch.Tensor:
    """Turn a classifier's logits into scores [batch, 1], by the model's own activation."""
    scores: torch.Tensor = model.activation_fn(logits)
    return scores.reshape(-1, 1)


def export(model: Loaded, sample: Features, target: Path) -> None:
    """Write the model's graph, whose batch and length are free.

    sample: a batch of at least 2 sequences of at least 2 tokens, by which the graph is traced. By
    the TorchScript exporter: the one by torch.export takes half a minute for what this one does in
    a second, and every graph is held against torch before it serves.
    """
    names, output = list(sample), output_name(model)
    tensors = tuple(torch.from_numpy(rows).to(model.device) for rows in sample.values())
    free = {name: {0: "batch", 1: "length"} for name in names} | {output: {0: "batch"}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pipeline(model, names).eval(),
            tensors,
            str(target),
            input_names=names,
            output_names=[output],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
