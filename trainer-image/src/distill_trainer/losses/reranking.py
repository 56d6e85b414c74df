"""Losses of a reranker student on lists of scored documents, and the recipe's sum of them.

| function     | inputs                                       | target                       |
|--------------|----------------------------------------------|------------------------------|
| hinge_margin | scores of a positive and of other documents  | the teacher's margin + m     |
| listwise_kl  | scores of a list's documents                 | the teacher's softmax        |
| in_list      | the same                                     | the own document first       |
| max_sim      | token embeddings of queries and documents    | (a score, not a loss)        |

marginMse is in ranking. In a list the record's own document comes first. Sources: Hofstätter et
al. 2020, arXiv:2010.02666; Cao et al. 2007 (ListNet); Hinton et al. 2015, arXiv:1503.02531;
Khattab and Zaharia 2020, arXiv:2004.12832 (MaxSim).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from distill_api.recipe import Contrastive, HingeMargin, RerankerRecipe
from torch import Tensor

from distill_trainer.losses import ranking
from distill_trainer.losses.reduction import masked_mean, unit, wide
from distill_trainer.losses.weighted import Loss


@dataclass(frozen=True, slots=True)
class Lists:
    """Scores of the documents of a batch's lists, the record's own document first."""

    student: Tensor
    """float [records, documents]: with gradient, in the units of the teacher's scores."""
    teacher: Tensor
    """float [records, documents]: raw scores."""
    keep: Tensor
    """bool [records, documents]: false for padding and for other documents that answer too."""


def hinge_margin(student: Tensor, teacher: Tensor, keep: Tensor, *, margin: float) -> Tensor:
    """relu(teacher's margin - student's margin + margin), mean over kept negatives; [rows].

    student, teacher: scores [rows, 1 + negatives], the positive first; keep bool
    [rows, negatives]. A row without kept negatives gives 0 and must be left out of the mean by
    the caller.
    """
    of_student, of_teacher = (wide(scores[:, :1]) - scores[:, 1:] for scores in (student, teacher))
    # Masked before the relu, so that NaN in a masked place has no gradient either.
    short = (of_teacher - of_student + margin).masked_fill(~keep, 0.0)
    return torch.relu(short).sum(dim=1) / keep.sum(dim=1).clamp(min=1)


def margin_at(knobs: HingeMargin, through: float) -> float:
    """Margin when a share of the training is done: from marginStart at 0 to marginEnd at 1."""
    return knobs.margin_start + (knobs.margin_end - knobs.margin_start) * through


def listwise_kl(student: Tensor, teacher: Tensor, keep: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher ‖ student) of the softened softmax over each list's kept documents; [rows].

    student, teacher: scores [rows, documents]; keep bool alike. Times temperature², so that the
    gradient keeps its size next to other losses. A row with fewer than two kept documents gives 0
    and must be left out of the mean by the caller.
    """
    log_p, log_q = (
        torch.log_softmax((wide(scores) / temperature).masked_fill(~keep, -torch.inf), dim=1)
        for scores in (student, teacher)
    )
    # Before any arithmetic: -inf less -inf is NaN, and so is its gradient, even where not chosen.
    log_p, log_q = (log.masked_fill(~keep, 0.0) for log in (log_p, log_q))
    # sum_i q_i (log q_i - log p_i)
    per_document = torch.where(keep, log_q.exp() * (log_q - log_p), 0.0)
    return temperature**2 * per_document.sum(dim=1)


def max_sim(queries: Tensor, documents: Tensor, seen: Tensor, read: Tensor) -> Tensor:
    """Sum over a query's tokens of its best cosine with a document's tokens; [..., documents].

    queries [..., query tokens, width]; documents [..., documents, tokens, width]; seen bool
    [..., query tokens] and read bool [..., documents, tokens]: which tokens count.
    """
    cosines = torch.einsum("...qw,...dtw->...dqt", unit(queries), unit(documents))
    best = cosines.masked_fill(~read.unsqueeze(-2), -torch.inf).amax(dim=-1)
    return torch.where(seen.unsqueeze(-2), best, 0.0).sum(dim=-1)


def in_list(student: Tensor, keep: Tensor) -> Tensor:
    """-log softmax of a record's own document among its list; [rows]; shapes as in Lists."""
    logits = wide(student).masked_fill(~keep, -torch.inf)
    return torch.logsumexp(logits, dim=1) - logits[:, 0]


def reranker_loss(
    recipe: RerankerRecipe,
    lists: Lists,
    contrast: Callable[[Contrastive], Tensor],
    *,
    through: float,
) -> Loss:
    """Add up the recipe's losses over one batch.

    contrast: mean of the contrastive loss, which needs more than the lists; through: share of the
    training that is done, 0 to 1. A batch in which no list has two documents has that loss alone.
    Raises ValueError where the recipe has not even that one.
    """
    parts = dict(_of_lists(recipe, lists, through)) if lists.keep[:, 1:].any() else {}
    if recipe.contrastive:
        parts["contrastive"] = (recipe.contrastive.weight, contrast(recipe.contrastive))
    if not parts:
        raise ValueError(
            "no loss of the recipe can be computed from this batch: no list has a second document"
        )
    total = torch.stack([weight * value for weight, value in parts.values()]).sum()
    return Loss(total, {name: value.detach() for name, (_, value) in parts.items()})


def _of_lists(
    recipe: RerankerRecipe, lists: Lists, through: float
) -> Iterator[tuple[str, tuple[float, Tensor]]]:
    """Yield name, weight and value of each loss that compares a list's documents."""
    negatives = lists.keep[:, 1:]
    usable = negatives.any(dim=1)
    student, teacher = lists.student, lists.teacher
    if recipe.margin_mse:
        per_record = ranking.margin_mse(
            student[:, :1], student[:, 1:], teacher[:, :1], teacher[:, 1:], negatives
        )
        yield "marginMse", (recipe.margin_mse.weight, masked_mean(per_record, usable))
    if recipe.hinge_margin:
        margin = margin_at(recipe.hinge_margin, through)
        value = masked_mean(hinge_margin(student, teacher, negatives, margin=margin), usable)
        yield "hingeMargin", (recipe.hinge_margin.weight, value)
    if recipe.listwise_kl:
        temperature = recipe.listwise_kl.temperature
        per_list = listwise_kl(student, teacher, lists.keep, temperature=temperature)
        yield "listwiseKl", (recipe.listwise_kl.weight, masked_mean(per_list, usable))


def margins(lists: Lists) -> Tensor:
    """Student's margins between own and every other kept document, without gradient; [pairs]."""
    apart = lists.student.detach()[:, :1] - lists.student.detach()[:, 1:]
    return apart[lists.keep[:, 1:]]
