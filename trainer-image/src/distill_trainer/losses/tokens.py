"""Cross-entropy of tokens, with label smoothing.

Source: Szegedy et al. 2016, arXiv:1512.00567.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from distill_trainer.losses.reduction import wide


def nll(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each token; logits [tokens, vocabulary], labels int64 [tokens] → [tokens].

    label_smoothing: share of the probability that is spread evenly over the vocabulary.
    """
    return cross_entropy(wide(logits), labels, reduction="none", label_smoothing=label_smoothing)
