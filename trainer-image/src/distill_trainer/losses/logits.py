"""Divergence of the student's distribution over tokens from the teacher's, full or from a cache.

| function   | teacher                                     | equals                               |
|------------|---------------------------------------------|--------------------------------------|
| divergence | logits of the whole vocabulary              | Hinton et al. 2015, arXiv:1503.02531 |
| cached     | top k log-probabilities and the tail's mass | divergence, less what the tail hides |

Every function gives one number for each token; the caller sums over supervised tokens and divides
by how many the whole step has, so that no split into micro-batches changes the gradient. All are
multiplied by the square of the temperature, so that gradients keep their size beside hard labels.
"""

import math
from dataclasses import dataclass

import torch
from distill_api.recipe import Divergence
from torch import Tensor
from torch.nn.functional import log_softmax

from distill_trainer.losses.reduction import wide


@dataclass(frozen=True, slots=True)
class TopK:
    """What was cached of a teacher's distributions at temperature 1."""

    ids: Tensor
    """int64 [tokens, k]: the likeliest tokens; what is not kept repeats the first."""
    logprobs: Tensor
    """float [tokens, k]: their log-probabilities among all tokens."""
    keep: Tensor
    """bool [tokens, k]: false where fewer than k were cached."""
    tail: Tensor
    """float [tokens]: log of the other tokens' mass; -inf where there is none."""

    def rows(self, begin: int, end: int) -> "TopK":
        """Return some of the tokens."""
        parts = (self.ids, self.logprobs, self.keep, self.tail)
        return TopK(*(part[begin:end] for part in parts))


def divergence(
    student: Tensor, teacher: Tensor, kind: Divergence, temperature: float, beta: float = 0.5
) -> Tensor:
    """Divergence of softened distributions; student, teacher logits [tokens, vocabulary].

    beta: the teacher's share of the mixture, for Jensen and Shannon. Returns float32 [tokens],
    float64 for such logits. Raises ValueError where the vocabularies have different sizes.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student logits have shape {tuple(student.shape)} and teacher logits"
            f" {tuple(teacher.shape)}: cut both to the vocabulary that they share"
        )
    log_p = log_softmax(wide(student) / temperature, dim=-1)
    log_q = log_softmax(wide(teacher) / temperature, dim=-1)
    return temperature**2 * _between(log_q, log_p, kind, beta)


def cached(
    student: Tensor, teacher: TopK, kind: Divergence, temperature: float, beta: float = 0.5
) -> Tensor:
    """Divergence over the k cached tokens and one class for all others.

    student: logits [tokens, vocabulary]. Returns float32 [tokens]. At temperature 1 the forward
    divergence is the full one less tail mass x KL(teacher's tail ‖ student's tail), by the chain
    rule; it never exceeds the full one. At other temperatures the k + 1 classes are softened,
    because the teacher's tail at that temperature cannot be known from its mass.
    """
    log_p = _coarse(wide(student), teacher)
    log_q = torch.cat([teacher.logprobs, teacher.tail.unsqueeze(-1)], dim=-1).to(log_p.dtype)
    keep = torch.cat([teacher.keep, torch.isfinite(teacher.tail).unsqueeze(-1)], dim=-1)
    # Before any arithmetic: -inf less -inf is NaN, and so is its gradient, even where not chosen.
    log_q = torch.where(keep, log_q, torch.zeros_like(log_q))
    log_p = torch.where(keep, log_p, torch.zeros_like(log_p))
    soft_q = _softened(log_q, keep, temperature)
    soft_p = _softened(log_p, keep, temperature)
    return temperature**2 * _between(soft_q, soft_p, kind, beta)


def _coarse(student: Tensor, teacher: TopK) -> Tensor:
    """Log-probabilities of the cached tokens and of all others together: [tokens, k + 1]."""
    whole = torch.logsumexp(student, dim=-1, keepdim=True)
    top = student.gather(-1, teacher.ids) - whole
    if teacher.ids.shape[-1] >= student.shape[-1]:
        return torch.cat([top, torch.zeros_like(whole)], dim=-1)
    others = student.scatter(-1, teacher.ids, -torch.inf)
    return torch.cat([top, torch.logsumexp(others, dim=-1, keepdim=True) - whole], dim=-1)


def _softened(log_mass: Tensor, keep: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the kept classes at a temperature; -inf for the others."""
    scaled = torch.where(keep, log_mass / temperature, -torch.inf)
    return log_softmax(scaled, dim=-1)


def _between(log_q: Tensor, log_p: Tensor, kind: Divergence, beta: float) -> Tensor:
    """Divergence of two log-distributions [tokens, classes] → [tokens]; q is the teacher's."""
    match kind:
        case Divergence.FORWARD_KL:
            return _kl(log_q, log_p)
        case Divergence.REVERSE_KL:
            return _kl(log_p, log_q)
        case Divergence.JENSEN_SHANNON:
            # log of the mixture of both, Lin 1991, with a weight in Agarwal et al. 2024,
            # arXiv:2306.13649; the gradient of -inf with -inf would be NaN
            neither = torch.isinf(log_q) & torch.isinf(log_p)
            safe_q, safe_p = (log.masked_fill(neither, 0.0) for log in (log_q, log_p))
            log_m = torch.logaddexp(safe_q + math.log(beta), safe_p + math.log1p(-beta))
            return beta * _kl(log_q, log_m) + (1 - beta) * _kl(log_p, log_m)


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a ‖ b) = sum_i a_i (log a_i - log b_i) over the classes that a holds possible."""
    possible = torch.isfinite(log_a)
    safe_a = torch.where(possible, log_a, torch.zeros_like(log_a))
    safe_b = torch.where(possible, log_b, torch.zeros_like(log_b))
    return torch.where(possible, safe_a.exp() * (safe_a - safe_b), 0.0).sum(dim=-1)
