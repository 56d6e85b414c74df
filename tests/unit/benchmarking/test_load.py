"""The load is open: what a server does not answer in time is measured, and not left out."""

import asyncio
from collections.abc import AsyncIterator

import hypothesis.strategies as st
import numpy as np
import pages
import pytest
from aiohttp import web
from distill_trainer.benchmarking import arrivals, load
from distill_trainer.benchmarking.load import Answer, Limits, Request
from hypothesis import given

ASK = Request("/ask", b"{}")
LIMITS = Limits(concurrency=100, timeout=60.0)


class Toy:
    """A server whose faults a test switches on."""

    def __init__(self) -> None:
        self.asked = self.under_way = self.most = 0
        self.stall_at, self.stall = -1, 0.0
        self.hang_at = -1
        self.status = 200
        self.gate = asyncio.Lock()

    async def answer(self, _: web.Request) -> web.Response:
        number, self.asked = self.asked, self.asked + 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if number == self.hang_at:
                await asyncio.sleep(60)
            async with self.gate:
                if number == self.stall_at:
                    await asyncio.sleep(self.stall)
                await asyncio.sleep(0.001)
            return web.Response(status=self.status, text="{}")
        finally:
            self.under_way -= 1


@pytest.fixture
async def toy() -> Toy:
    return Toy()


@pytest.fixture
async def url(toy: Toy) -> AsyncIterator[str]:
    async with pages.served(web.post("/ask", toy.answer)) as address:
        yield address


async def offered(url: str, count: int, gap: float, limits: Limits = LIMITS) -> list[Answer]:
    due = gap * np.arange(count)
    async with asyncio.timeout(120):
        return await load.offer(url, [ASK] * count, due, limits, lambda _: None)


async def test_every_request_that_came_while_the_server_stood_still_is_late(toy: Toy, url: str):
    """A loop that waits for each answer would have one slow request here."""
    toy.stall_at, toy.stall = 10, 1.0
    answers = await offered(url, 100, 0.01)
    assert all(one.good for one in answers)
    late = [one.seconds for one in answers[10:]]
    assert sum(one > 0.3 for one in late) >= 60
    assert late[0] >= 1.0


async def test_no_more_are_under_way_than_allowed_and_waiting_counts(toy: Toy, url: str):
    toy.stall_at, toy.stall = 0, 0.5
    answers = await offered(url, 20, 0.001, Limits(concurrency=2, timeout=60))
    assert toy.most == 2
    assert all(one.good for one in answers)
    assert min(one.seconds for one in answers) > 0.3


async def test_what_is_refused_or_too_late_is_no_good(toy: Toy, url: str):
    toy.hang_at = 1
    answers = await offered(url, 3, 0.0, Limits(concurrency=9, timeout=2.0))
    assert sorted(one.good for one in answers) == [False, True, True]
    assert max(one.seconds for one in answers) >= 2.0
    toy.status = 503
    assert not any(one.good for one in await offered(url, 3, 0.0))


async def test_a_server_that_is_gone_fails_every_request():
    answers = await offered("http://127.0.0.1:1", 3, 0.0)
    assert [one.good for one in answers] == [False] * 3


async def test_whoever_is_told_can_stop_the_load(toy: Toy, url: str):
    def stop(_: int) -> None:
        raise InterruptedError("the pod has to go")

    with pytest.raises(InterruptedError):
        await load.offer(url, [ASK] * 100, np.full(100, 1.0).cumsum(), LIMITS, stop)
    assert toy.asked < 10


@given(rate=st.floats(0.1, 1e4), count=st.integers(1, 300), seed=st.integers(0, 9))
def test_arrivals_rise_and_are_the_same_again(rate: float, count: int, seed: int):
    found = arrivals.poisson(rate, count, seed=seed)
    assert len(found) == count
    assert (np.diff(found, prepend=0) >= 0).all()
    assert (found == arrivals.poisson(rate, count, seed=seed)).all()
    assert (found != arrivals.poisson(rate, count, seed=seed + 1)).any()


def test_arrivals_are_a_poisson_process_of_the_rate():
    gaps = np.diff(arrivals.poisson(50, 20_000, seed=1))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    # Exponential: as much spread as mean, and no memory.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03
