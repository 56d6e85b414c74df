"""A linear layer at the student's end that gives its embeddings the width that was asked for."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize

from distill_trainer.training.projections import least_squares


def add(student: SentenceTransformer, width: int, *, seed: int) -> None:
    """Put a linear layer without offset before the student's normalising, or at its end.

    Its values are random until fit gives it better ones.
    """
    before = student.get_embedding_dimension()
    assert before is not None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dense = Dense(before, width, bias=False, activation_function=None)
    modules = list(student)
    at = next((i for i, m in enumerate(modules) if isinstance(m, Normalize)), len(modules))
    for name in list(student._modules):  # noqa: SLF001 - nn.Sequential has no insert that renumbers
        del student._modules[name]  # noqa: SLF001
    for number, module in enumerate([*modules[:at], dense, *modules[at:]]):
        student.add_module(str(number), module)


@torch.no_grad()
def fit(
    student: SentenceTransformer,
    texts: Sequence[str],
    teacher: NDArray[np.float32],
    *,
    turned: bool,
) -> bool:
    """Start the layer at the least-squares map from pooled states to the teacher's space.

    texts: a sample; teacher [texts, teacher width]: its embeddings. Where the student is narrower,
    or turned is asked for, the target is the teacher's first principal components, strongest
    first, so that inner products are kept as well as this width allows and the embedding can be
    cut from its end; otherwise it is the teacher's own space, with which a loss without projection
    compares. Returns False, and changes nothing, where the teacher is narrower.
    """
    # The last one: a student of its own may have others, which are trained already.
    dense = [m for m in student if isinstance(m, Dense)][-1]
    if dense.out_features > teacher.shape[1]:
        return False
    target = torch.from_numpy(np.asarray(teacher)).double()
    if turned or dense.out_features < teacher.shape[1]:
        target = target @ _components(target, dense.out_features)
    states = _before(student, dense, texts).double()
    dense.linear.weight.copy_(least_squares(states, target).T.float())
    return True


def _components(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Find the directions [width, count] that hold most of rows [rows, width], strongest first.

    Not centred: it is inner products, not variances, that have to survive.
    """
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    strongest_first: torch.Tensor = vectors.flip(1)
    return strongest_first[:, :count]


def _before(student: SentenceTransformer, dense: Dense, texts: Sequence[str]) -> torch.Tensor:
    """Return what reaches the layer: float32 [texts, in_features]."""
    modules = list(student)
    body = SentenceTransformer(modules=modules[: modules.index(dense)], device=str(student.device))
    found: torch.Tensor = body.encode(
        list(texts), convert_to_tensor=True, show_progress_bar=False, batch_size=64
    )
    return found
