"""Distance of a student's embedding to its teacher's of the same text.

| function      | inputs                                   | target                      |
|---------------|------------------------------------------|-----------------------------|
| squared_error | student and teacher embeddings of texts  | the teacher's embedding     |
| cosine        | the same                                 | the teacher's direction     |

Sources: Reimers and Gurevych 2020, arXiv:2004.09813; Kim et al. 2023, arXiv:2301.12005.
"""

from torch import Tensor

from distill_trainer.losses.reduction import same_shape, unit, wide


def squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the width of the squared difference; student, teacher [texts, width] → [texts]."""
    same_shape(student, teacher)
    return (wide(student) - wide(teacher)).square().mean(dim=-1)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle between the two; student, teacher [texts, width] → [texts]."""
    same_shape(student, teacher)
    return 1 - (unit(student) * unit(teacher)).sum(dim=-1)
