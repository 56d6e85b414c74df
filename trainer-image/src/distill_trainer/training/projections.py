"""Maps from the student's space to the teacher's, trained beside the student and checkpointed.

The loss owns them, not the student: they are left behind when training is over. A projection is
needed where the widths differ. With Matryoshka every width has its own, the full one too: a cut
embedding should hold what is needed to rebuild the whole of the teacher's, not just the teacher's
own first dimensions, which mean nothing in particular.
"""

import torch
from distill_api.recipe import EmbeddingRecipe
from torch import Tensor, nn

from distill_trainer.losses import matryoshka
from distill_trainer.losses.weighted import Projection

RIDGE = 1e-3
"""Share of the mean variance that is added to the normal equations, so that they are solvable."""


class Projections(nn.ModuleDict):
    """One linear map without offset for each width that needs one."""

    def by_width(self) -> dict[int, Projection]:
        """Width of the student's (cut) embedding → its map to the teacher's space."""
        return {int(width): module for width, module in self.items()}


def widths(recipe: EmbeddingRecipe, student_width: int, teacher_width: int) -> list[int]:
    """Widths that need a projection under this recipe; none without losses to the teacher."""
    if not (recipe.mse or recipe.cosine or recipe.teacher_contrastive):
        return []
    if recipe.matryoshka:
        return list(matryoshka.weights_of_widths(student_width, recipe.matryoshka.dimensions, None))
    return [] if student_width == teacher_width else [student_width]


def empty(needed: list[int], teacher_width: int) -> Projections:
    """Projections whose weights are still to be filled in; draws no random numbers."""
    made = Projections()
    for width in needed:
        linear = nn.Linear(width, teacher_width, bias=False, device="meta").to_empty(device="cpu")
        nn.init.zeros_(linear.weight)
        made[str(width)] = linear
    return made


@torch.no_grad()
def fit(projections: Projections, student: Tensor, teacher: Tensor) -> None:
    """Start each projection from the least-squares map of a sample.

    student [texts, width] is the untrained student's, teacher [texts, teacher width] the target.
    Random maps would first pull the student towards a space that means nothing.
    """
    for width, linear in projections.items():
        assert isinstance(linear, nn.Linear)
        source = matryoshka.cut(student, int(width)).double()
        linear.weight.copy_(least_squares(source, teacher.double()).T)


def least_squares(source: Tensor, target: Tensor) -> Tensor:
    """W [in, out] that minimises |source W - target|² + ridge |W|², by the normal equations."""
    gram = source.T @ source
    ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # Unchecked: what a student that is not finite makes of it is told as divergence, not as a
    # singular matrix, which accelerators would raise here and CPUs not.
    solved: Tensor = torch.linalg.solve_ex(gram + ridge * eye, source.T @ target).result
    return solved
