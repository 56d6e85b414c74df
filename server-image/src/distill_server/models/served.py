"""The model that is served: tokens, width, prompts, and a verified runtime."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from distill_common import cores
from distill_common.tokens import Text, Tokens, rectangle
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from distill_server.errors import BadModel
from distill_server.identity import Identity
from distill_server.models import export, loading, runtimes
from distill_server.models.loading import Loaded
from distill_server.models.tokenizing import Tokenizer
from distill_server.settings import Runtime, Settings

TOLERANCE: Final = 1e-4
"""Largest difference between the runtimes, relative to the largest number of the sample."""
SAMPLE: Final = (
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "A kettle is descaled with vinegar: fill it, wait for an hour, rinse it twice. " * 8,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is ready."""

    tokenizer: Tokenizer
    runtime: runtimes.Runtime
    identity: Identity
    width: int
    reranker: bool
    prompts: Mapping[str, str]
    default_prompt: str | None

    def compute(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return float32 [len(batch), width]."""
        return self.runtime.compute(rectangle(batch, self.tokenizer.padding))


def open_model(settings: Settings) -> Served:
    """Load, export if need be, verify; BadModel with what to do."""
    threads = settings.threads or cores.usable()
    torch.set_num_threads(threads)
    model = loading.load(settings.model)
    identity = Identity.of(settings.model)
    tokenizer = Tokenizer(model)
    runtime: runtimes.Runtime = runtimes.Torch(model)
    if settings.runtime is Runtime.ONNX_RUNTIME:
        runtime = _verified_onnx(model, tokenizer, identity, settings.model, threads)
    return Served(
        tokenizer=tokenizer,
        runtime=runtime,
        identity=identity,
        width=_width(model),
        reranker=isinstance(model, CrossEncoder),
        prompts={name: text for name, text in (model.prompts or {}).items() if text is not None},
        default_prompt=model.default_prompt_name,
    )


def _verified_onnx(
    model: Loaded, tokenizer: Tokenizer, identity: Identity, folder: Path, threads: int
) -> runtimes.Runtime:
    """Make the ONNX runtime and hold it against torch."""
    texts: list[Text] = list(SAMPLE)
    if isinstance(model, CrossEncoder):
        texts = [(SAMPLE[1], text) for text in SAMPLE]
    sample = tokenizer.encode(texts, None)
    features = rectangle(sample, tokenizer.padding)
    found = export.shipped(folder) or export.Shipped(export.cached(model, features, identity))
    log.info("serving the graph %s", found.graph)
    made = runtimes.Onnx(found.graph, model, threads=threads)
    for batch in (sample, sample[:1]):
        _refuse_difference(
            made.compute(rectangle(batch, tokenizer.padding)),
            runtimes.Torch(model).compute(rectangle(batch, tokenizer.padding)),
            found,
        )
    return made


def _refuse_difference(
    found: NDArray[np.float32], expected: NDArray[np.float32], shipped: export.Shipped
) -> None:
    largest = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    log.info("ONNX Runtime and torch differ by %.2g at most", largest)
    most = max(TOLERANCE * max(1.0, float(np.abs(expected).max())), shipped.tolerance)
    if not largest <= most:
        raise BadModel(
            f"{shipped.graph} gives other results than the weights (largest difference"
            f" {largest:.2g}, at most {most:.2g} is expected): remove the graph, or serve with"
            " --runtime Torch"
        )


def _width(model: Loaded) -> int:
    return 1 if isinstance(model, CrossEncoder) else int(model.get_embedding_dimension() or 0)
