"""The score that chooses the best checkpoint: nDCG@10 of validation queries in a fixed sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_trainer.measures import retrieval
from distill_trainer.training.encode import Encoder
from distill_trainer.training.pairs import Pairs

MEASURE = "nDCG@10"
MAX_QUERIES = 256
MAX_DOCUMENTS = 1024
"""Small on purpose: the score only ranks checkpoints of one training against each other."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Queries, the documents they are searched in, and which of those answer them."""

    queries: NDArray[np.int64]
    """[queries]: text ids."""
    documents: NDArray[np.int64]
    """[documents]: text ids."""
    relevant: retrieval.Relevant
    """Row of queries → rows of documents."""

    def score(self, encoder: Encoder) -> float:
        """Mean nDCG@10 of the student as it is now, between 0 and 1."""
        embeddings = encoder.evaluate(np.concatenate([self.queries, self.documents]))
        queries, documents = embeddings[: len(self.queries)], embeddings[len(self.queries) :]
        ranking = retrieval.search(queries, documents, depth=10)
        return float(retrieval.per_query([MEASURE], self.relevant, ranking)[MEASURE].mean())


def sample(pairs: Pairs, documents: NDArray[np.int64], *, seed: int) -> Validation:
    """Choose at most MAX_QUERIES queries of a split, and MAX_DOCUMENTS documents around theirs.

    documents: text ids of all documents, [documents]. Depends on nothing but the arguments.
    """
    generator = np.random.Generator(np.random.PCG64([seed, len(pairs)]))
    answers = pairs.answers()
    every = np.array(sorted(answers), dtype=np.int64)
    queries = np.sort(generator.permutation(every)[:MAX_QUERIES])
    own = {document for query in queries.tolist() for document in answers[query]}
    others = np.setdiff1d(documents, np.array(sorted(own), dtype=np.int64))
    room = max(MAX_DOCUMENTS - len(own), 0)
    chosen = np.union1d(np.array(sorted(own), dtype=np.int64), generator.permutation(others)[:room])
    row = {document: place for place, document in enumerate(chosen.tolist())}
    relevant = {
        place: frozenset(row[document] for document in answers[query])
        for place, query in enumerate(queries.tolist())
    }
    return Validation(queries, chosen, relevant)
