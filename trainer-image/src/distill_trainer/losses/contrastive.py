"""NT-Xent: each row against the candidates of its batch.

| function            | inputs                                     | targets                     |
|---------------------|--------------------------------------------|-----------------------------|
| query_to_document   | queries, candidate documents               | each query's own document   |
| document_to_query   | the same                                   | each document's own query   |
| student_to_teacher  | student and teacher embeddings of texts    | the teacher's of that text  |

Sources: van den Oord et al. 2018, arXiv:1807.03748; Chen et al. 2020, arXiv:2002.05709;
Henderson et al. 2017, arXiv:1705.00652 (in-batch negatives).
"""

import torch
from torch import Tensor

from distill_trainer.losses.reduction import same_shape, unit


def query_to_document(
    queries: Tensor,
    documents: Tensor,
    positive: Tensor,
    *,
    temperature: float,
    excluded: Tensor | None = None,
) -> Tensor:
    """-log softmax of each query's own document among all candidates; float32 [queries].

    queries [queries, width]; documents [candidates, width]: positives of the batch and hard
    negatives; positive int64 [queries]: column of the own document; excluded bool
    [queries, candidates]: candidates that also answer the query, or padding, and are no negatives.
    """
    logits = unit(queries) @ unit(documents).T / temperature
    return cross_entropy(logits, positive, excluded)


def document_to_query(
    queries: Tensor,
    documents: Tensor,
    positive: Tensor,
    *,
    temperature: float,
    excluded: Tensor | None = None,
) -> Tensor:
    """-log softmax of each own document's query among all queries; float32 [queries].

    Shapes as in query_to_document; row i is the document of query i, candidates are the queries.
    Another query with the same document is no negative.
    """
    own = unit(documents)[positive]
    logits = own @ unit(queries).T / temperature
    swapped = positive.unsqueeze(0) == positive.unsqueeze(1)
    if excluded is not None:
        swapped = swapped | excluded[:, positive].T
    return cross_entropy(logits, torch.arange(len(queries), device=queries.device), swapped)


def student_to_teacher(
    student: Tensor, teacher: Tensor, *, temperature: float, keep: Tensor | None = None
) -> Tensor:
    """-log softmax of each text's teacher embedding among the teacher's of the batch; [texts].

    student, teacher [texts, width]; keep bool [texts]: the others are no candidates either.
    """
    same_shape(student, teacher)
    _at_least_two(len(student))
    logits = unit(student) @ unit(teacher).T / temperature
    excluded = None if keep is None else (~keep).unsqueeze(0).expand_as(logits)
    return cross_entropy(logits, torch.arange(len(student), device=student.device), excluded)


def cross_entropy(logits: Tensor, target: Tensor, excluded: Tensor | None) -> Tensor:
    """-logits[target] + log sum exp of the logits that are not excluded; the target never is.

    logits [rows, candidates]; target int64 [rows]; excluded bool like logits. Returns [rows].
    """
    _at_least_two(logits.shape[1])
    own = logits.gather(1, target.unsqueeze(1))
    if excluded is not None:
        others = excluded.scatter(1, target.unsqueeze(1), value=False)
        logits = logits.masked_fill(others, -torch.inf)
    # log sum_j exp(s_ij) - s_i,target
    return torch.logsumexp(logits, dim=1) - own.squeeze(1)


def _at_least_two(candidates: int) -> None:
    if candidates < 2:
        raise ValueError(
            f"a contrastive loss over {candidates} candidate is always 0 and teaches nothing:"
            " it needs at least 2; make the batch larger"
        )
