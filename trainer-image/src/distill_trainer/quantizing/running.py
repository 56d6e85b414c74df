"""A graph in ONNX Runtime in the place of the model that it was made from."""

from pathlib import Path
from typing import Any

import torch
from distill_common import exporting, sessions
from sentence_transformers import CrossEncoder


class InOnnx:
    """Tokenises as the model does, and computes by the graph; always on the processor."""

    def __init__(self, graph: Path, model: Any, *, threads: int) -> None:
        self._session = sessions.open_graph(graph, threads=threads)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._model = model
        ranks = isinstance(model, CrossEncoder)
        self._result = "scores" if ranks else exporting.output_name(model)
        self.device = torch.device("cpu")
        self.tokenizer = model.tokenizer
        self.max_seq_length = model.max_seq_length

    def preprocess(self, *texts: Any, **more: Any) -> dict[str, Any]:
        """Return the tokens of texts, as the model makes them."""
        made: dict[str, Any] = self._model.preprocess(*texts, **more)
        return made

    def __call__(self, features: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return what the model's own forward pass returns of interest."""
        given = {name: features[name].numpy() for name in self._inputs}
        (found,) = self._session.run(None, given)
        mask = features["attention_mask"]  # which of a token's embeddings count
        return {self._result: torch.from_numpy(found), "attention_mask": mask}

    def modules(self) -> Any:
        """Return the modules of the model."""
        return self._model.modules()

    def parameters(self) -> Any:
        """Return the weights of the model, as many as the graph has."""
        return self._model.parameters()
