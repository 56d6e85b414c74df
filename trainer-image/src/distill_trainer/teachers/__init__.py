"""The teacher: weights that run here, or a server that is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a teacher made of some texts."""

    vectors: NDArray[np.float32]
    """[texts, width], as the teacher gives them."""
    tokens: int
    """Tokens that the teacher read."""


type Tell = Callable[[int, int], None]
"""Called after each batch with the texts and tokens of it; may raise to stop."""


class Teacher(Protocol):
    """Turns texts into embeddings. The same texts in the same call give the same numbers."""

    max_length: int | None
    """Tokens of a text that are read; None where only the server knows."""

    def embed(self, texts: Sequence[str], *, prompt: str, tell: Tell | None = None) -> Embedded:
        """Return the embeddings of texts, each put after the prompt."""
        ...

    def close(self) -> None:
        """Let go of connections and memory."""
        ...
