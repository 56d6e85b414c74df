"""A teacher whose weights run in this process, through sentence-transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from distill_api.sources import ModelSource

from distill_trainer.teachers import Embedded, Tell, encoders
from distill_trainer.teachers.reading import Reader


class LocalTeacher:
    """A SentenceTransformer in evaluation mode, without gradients, in float32."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model = model
        self.batch_size = batch_size
        self.max_length: int | None = model.max_seq_length
        self._reader = Reader(model)

    def embed(self, texts: Sequence[str], *, prompt: str, tell: Tell | None = None) -> Embedded:
        """Embed texts in batches of similar length, longest first.

        The composition of batches depends on nothing but the texts of this call.
        """
        vectors: dict[int, Any] = {}
        tokens = 0
        for batch, features in self._reader.batches(texts, self.batch_size, prompt):
            vectors.update(zip(batch, self._forward(features), strict=True))
            count = int(features["attention_mask"].sum())
            tokens += count
            if tell is not None:
                tell(len(batch), count)
        ordered = [vectors[index] for index in range(len(texts))]
        return Embedded(np.stack(ordered).astype(np.float32, copy=False), tokens)

    def _forward(self, features: dict[str, Any]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(features)["sentence_embedding"].float().cpu().numpy()

    def close(self) -> None:
        """Nothing to let go of: the process ends soon."""


def load(
    folder: Path, source: ModelSource, max_length: int | None, batch_size: int, *, gpus: int
) -> LocalTeacher:
    """Load a teacher from its folder; raises BadInput where it cannot be loaded.

    gpus: accelerators that the pod was given.
    """
    from sentence_transformers import SentenceTransformer

    model = encoders.load(SentenceTransformer, folder, source, max_length, gpus=gpus)
    return LocalTeacher(model, batch_size)
