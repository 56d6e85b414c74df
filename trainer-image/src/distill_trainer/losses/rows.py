"""Which rows of a batch's embeddings belong together: the index side of every loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as indices. The batch embeds each of its distinct texts once, as one row."""

    query: Tensor
    """int64 [records]: row of each record's query."""
    positive: Tensor
    """int64 [records]: position in candidates of each record's document."""
    candidates: Tensor
    """int64 [candidates]: rows of the batch's documents, positives and hard negatives alike."""
    excluded: Tensor
    """bool [records, candidates]: other documents that are known to answer the query."""
    negatives: Tensor
    """int64 [records, k]: positions in candidates of the hard negatives; -1 where there is none."""

    @property
    def has_negatives(self) -> bool:
        """Whether any record of the batch has a hard negative."""
        return bool((self.negatives >= 0).any())
