"""An arm that changes its model under way is noticed, named by its server or not."""

import json
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from distill_common.rows import Record
from distill_server.prober import comparing, material
from distill_server.prober.arms import UNNAMED, Arm, ArmFailed, Why
from distill_server.prober.comparing import ModelChanged, Ranker
from distill_server.prober.mirror import Asked

MATERIAL = material.choose([Record(f"d{n}", f"q{n}") for n in range(20)], queries=5, documents=20)


@dataclass
class Fault:
    """A server whose model is exchanged, or whose answer is broken, as the test says."""

    digest: str = ""
    seed: int = 1
    broken: bool = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        made = np.random.default_rng(self.seed)
        vectors = {f"{kind}{n}": made.normal(size=8).tolist() for n in range(20) for kind in "dq"}
        data = [{"index": n, "embedding": vectors[text]} for n, text in enumerate(texts)]
        if self.broken:
            data = data[1:]
        headers = {"x-model-digest": self.digest} if self.digest else {}
        return httpx.Response(200, json={"data": data}, headers=headers)


async def prepared(client: httpx.AsyncClient) -> Ranker:
    arm = Arm(client, "student", "http://student", "m")
    return await comparing.prepare(arm, MATERIAL, "Embedding", lambda _: None)


@pytest.mark.parametrize("digest", ["", "sha256:1"])
async def test_another_model_behind_the_same_address_is_noticed(digest: str):
    fault = Fault(digest)
    async with httpx.AsyncClient(transport=httpx.MockTransport(fault.answer)) as client:
        ranker = await prepared(client)
        scores = await ranker.rank(Asked("q1"))
        fault.seed, fault.digest = 2, "sha256:2" if digest else ""
        with pytest.raises(ModelChanged, match="the student answers with another model"):
            await ranker.rank(Asked("q1"))
    assert ranker.digest == (digest or UNNAMED)
    assert scores.shape == (20,)
    assert np.abs(scores).max() <= 1 + 1e-6


async def test_an_answer_with_a_text_missing_is_no_answer():
    fault = Fault(broken=True)
    async with httpx.AsyncClient(transport=httpx.MockTransport(fault.answer)) as client:
        with pytest.raises(ArmFailed) as caught:
            await prepared(client)
    assert caught.value.why is Why.UNREADABLE
