"""How an arm is measured by a query: embeddings are searched, rerankers asked, texts compared."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from distill_common import asking
from distill_common.wording import MEASURES as WORDINGS
from numpy.typing import NDArray

from distill_server.prober import scoring
from distill_server.prober.arms import UNNAMED, Arm, Numbers
from distill_server.prober.material import Material
from distill_server.prober.mirror import Asked
from distill_server.prober.prompts import Prompts, Sent

BATCH: Final = 16
"""Documents embedded in a request; the arms serve users meanwhile, so one at a time."""
SAME: Final = 0.999
"""Cosine of a document's vectors from the same model; batches change the last digits only."""

type Tell = Callable[[str], None]


class ModelChanged(Exception):
    """An arm answers with another model than before."""

    def __init__(self, arm: str, sentence: str = "answers with another model") -> None:
        super().__init__(f"the {arm} {sentence}")
        self.arm = arm


class Ranker(Protocol):
    """One arm with everything that it has to know before it is asked."""

    digest: str
    """Of its model."""

    async def measured(self, number: int, wanted: Mapping[str, str]) -> dict[str, float]:
        """Return metric to value of a query, counted from 1. Raises ArmFailed, or ModelChanged.

        wanted: metric to measure.
        """

    async def rank(self, asked: Asked) -> NDArray[np.float32]:
        """Return [documents] of a user's query, the same ones in both arms. Raises the same."""


async def prepare(arm: Arm, material: Sent, component: str, tell: Tell) -> Ranker:
    """Make an arm's ranker: for embeddings every document is embedded first."""
    if isinstance(material, Prompts):
        first = await arm.write(material.messages(1), most=1)
        return Written(arm, material, first.digest)
    if component == "Reranker":
        query = material.queries[0]
        texts = [material.documents[row] for row in material.candidates(query)[:1]]
        answer = await arm.rerank(query.text, texts)
        return Reranked(arm, material, answer.digest)
    return await _embedded(arm, material, tell)


async def _embedded(arm: Arm, material: Material, tell: Tell) -> Ranker:
    texts = material.documents
    found: list[Numbers] = []
    digests: set[str] = set()
    for begin in range(0, len(texts), BATCH):
        tell(f"{begin} of {len(texts)} documents are embedded by the {arm.name}")
        began = asyncio.get_running_loop().time()
        answer = await arm.embed(texts[begin : begin + BATCH], "document")
        found.append(answer.values)
        digests.add(answer.digest)
        if len(digests) > 1:
            raise ModelChanged(arm.name, "has replicas with different models")
        # As long as it took: the arm's users keep half of it.
        await asyncio.sleep(asyncio.get_running_loop().time() - began)
    if len({rows.shape[1] for rows in found}) > 1:
        raise ModelChanged(arm.name, "gives vectors of several widths")
    return Searched(arm, material, scoring.unit(np.concatenate(found)), digests.pop())


class Searched:
    """An embedding model with the vectors of all documents."""

    def __init__(self, arm: Arm, material: Material, vectors: Numbers, digest: str) -> None:
        self._arm, self._material, self._vectors, self.digest = arm, material, vectors, digest

    async def measured(self, number: int, wanted: Mapping[str, str]) -> dict[str, float]:
        """Measure the order of the candidates by their cosines."""
        query = self._material.queries[number - 1]
        found = await self._searched(query.text, self._material.candidates(query))
        return scoring.measured(found, len(query.relevant), wanted)

    async def rank(self, asked: Asked) -> NDArray[np.float32]:
        """Return the cosines of the documents that every query is searched in."""
        return await self._searched(asked.text, list(self._material.pool))

    async def _searched(self, text: str, rows: list[int]) -> NDArray[np.float32]:
        answer = await self._arm.embed([text], "query")
        vector = answer.values[0]
        if answer.digest != self.digest or vector.shape != self._vectors.shape[1:]:
            raise ModelChanged(self._arm.name)
        if self.digest == UNNAMED:
            await self._refuse_another()
        return scoring.cosines(vector, self._vectors[rows])

    async def _refuse_another(self) -> None:
        """Compare a document's vector with the one of before, where the server names no model."""
        answer = await self._arm.embed([self._material.documents[0]], "document")
        if answer.values.shape[1:] != self._vectors.shape[1:]:
            raise ModelChanged(self._arm.name)
        if float(scoring.unit(answer.values[0]) @ self._vectors[0]) < SAME:
            raise ModelChanged(self._arm.name)


class Reranked:
    """A reranker."""

    def __init__(self, arm: Arm, material: Material, digest: str) -> None:
        self._arm, self._material, self.digest = arm, material, digest

    async def measured(self, number: int, wanted: Mapping[str, str]) -> dict[str, float]:
        """Measure the order of the candidates by their scores."""
        query = self._material.queries[number - 1]
        texts = [self._material.documents[row] for row in self._material.candidates(query)]
        found = await self._scored(query.text, texts)
        return scoring.measured(found, len(query.relevant), wanted)

    async def rank(self, asked: Asked) -> NDArray[np.float32]:
        """Return the scores of the request's own documents."""
        return await self._scored(asked.text, asked.documents)

    async def _scored(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        answer = await self._arm.rerank(query, texts)
        if answer.digest != self.digest:
            raise ModelChanged(self._arm.name)
        return answer.values


class Written:
    """A model that writes: its answers are held against the references, word by word."""

    def __init__(self, arm: Arm, prompts: Prompts, digest: str) -> None:
        self._arm, self._prompts, self.digest = arm, prompts, digest

    async def measured(self, number: int, wanted: Mapping[str, str]) -> dict[str, float]:
        """Measure how much of the reference the answer says in the same words."""
        answer = await self._arm.write(
            self._prompts.messages(number), most=self._prompts.generation.max_tokens
        )
        if answer.digest != self.digest:
            raise ModelChanged(self._arm.name)
        _, said = asking.divide(answer.content)
        reference = self._prompts.questions[number - 1].reference
        return {name: WORDINGS[measure](said, reference) for name, measure in wanted.items()}

    async def rank(self, asked: Asked) -> NDArray[np.float32]:
        """Fail: settings let no users' requests in, as nobody knows what answers them."""
        raise AssertionError(f"a model that writes ranks no {len(asked.documents)} documents")
