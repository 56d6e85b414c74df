"""The queue hands out each key once, in time, never twice at the same time."""

import asyncio

import pytest
from distill_operator.effects.queue import LONGEST_RETRY, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def nothing_is_due(queue: WorkQueue) -> bool:
    try:
        await asyncio.wait_for(queue.next(), 0.02)
    except TimeoutError:
        return True
    return False


async def test_many_wake_ups_become_one_pass() -> None:
    queue = WorkQueue(Clock())
    for _ in range(5):
        queue.wake("a")

    assert (await queue.next())[0] == "a"
    assert await nothing_is_due(queue)


async def test_a_wake_up_during_a_pass_makes_one_more_afterwards() -> None:
    queue = WorkQueue(Clock())
    queue.wake("a")
    await queue.next()
    queue.wake("a")

    assert await nothing_is_due(queue)
    queue.done("a")
    assert (await queue.next())[0] == "a"


async def test_other_keys_go_on_while_one_is_busy() -> None:
    queue = WorkQueue(Clock())
    queue.wake("a")
    await queue.next()
    queue.wake("a")
    queue.wake("b")

    assert (await queue.next())[0] == "b"


async def test_the_earliest_wake_up_counts() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.wake("a", after=60)
    queue.wake("a", after=10)
    queue.wake("a", after=30)

    clock.now += 12

    key, late = await queue.next()
    assert key == "a"
    assert late == pytest.approx(2)
    clock.now += 100
    assert await nothing_is_due(queue)


async def test_a_waiting_reader_is_woken() -> None:
    queue = WorkQueue(asyncio.get_running_loop().time)
    reader = asyncio.create_task(queue.next())
    await asyncio.sleep(0)

    queue.wake("a")

    assert (await asyncio.wait_for(reader, 1))[0] == "a"


def test_pauses_double_up_to_a_limit_and_start_anew_after_a_success() -> None:
    queue = WorkQueue(Clock())
    pauses = [queue.retry("a") for _ in range(30)]

    assert 0.5 <= pauses[0] <= 1.0
    assert 2.0 <= pauses[2] <= 4.0
    assert all(pause <= LONGEST_RETRY for pause in pauses)
    assert pauses[-1] >= LONGEST_RETRY / 2
    queue.succeeded("a")
    assert queue.retry("a") <= 1.0


async def test_after_clear_nothing_is_due() -> None:
    queue = WorkQueue(Clock())
    queue.wake("a")
    queue.clear()

    assert queue.depth == 0
    assert await nothing_is_due(queue)


async def test_what_is_forgotten_is_not_handed_out() -> None:
    queue = WorkQueue(Clock())
    queue.wake("a")
    queue.wake("b")
    queue.forget("a")

    assert (await queue.next())[0] == "b"
