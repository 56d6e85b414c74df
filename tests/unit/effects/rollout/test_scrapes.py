"""Looks at counters run beside the passes: nothing waits for them, nothing old is taken for new."""

import asyncio
from typing import Final

import pytest
from distill_api.rollout_metrics import Errors, Metric
from distill_operator.effects.rollout import scrape
from distill_operator.effects.rollout.scrape import Wanted
from distill_operator.effects.rollout.scrapes import PAUSE, STALE, Scrapes
from distill_operator.plan.rollout.model import ObservedMetrics

WANTED: Final = Wanted("team-a", (), (Metric(name="errors", errors=Errors()),))
FOUND: Final = ObservedMetrics(problems={"errors": "look 1"})


class Room:
    """Scrapes with a clock of its own, and looks that end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.woken: list[str] = []
        self.looks = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None
        monkeypatch.setattr(scrape, "look", self._look)
        self.scrapes = Scrapes(self.woken.append, lambda: self.now)

    async def _look(self, *_: object) -> ObservedMetrics:
        self.looks += 1
        number = self.looks
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return ObservedMetrics(problems={"errors": f"look {number}"})

    async def ended(self) -> None:
        self.answer.set()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


async def test_a_pass_goes_on_while_a_look_is_under_way_and_is_woken_when_it_is_done(
    room: Room,
) -> None:
    room.scrapes.begin("r", 1, WANTED)
    assert not room.scrapes.take("r", 1).read

    await room.ended()

    assert room.woken == ["r"]
    assert room.scrapes.take("r", 1) == room.scrapes.take("r", 1) == FOUND
    await room.scrapes.close()


async def test_there_is_one_look_at_a_time_and_none_right_after_another(room: Room) -> None:
    room.scrapes.begin("r", 1, WANTED)
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()
    room.now += PAUSE / 2
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()
    assert room.looks == 1

    room.now += PAUSE
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()
    assert room.looks == 2
    assert room.scrapes.take("r", 1).problems == {"errors": "look 2"}
    await room.scrapes.close()


async def test_numbers_from_before_a_transition_are_not_taken_for_those_after_it(
    room: Room,
) -> None:
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()

    assert not room.scrapes.take("r", 2).read
    room.scrapes.begin("r", 2, WANTED)
    assert not room.scrapes.take("r", 2).read
    await room.ended()
    assert room.scrapes.take("r", 2).problems == {"errors": "look 2"}
    await room.scrapes.close()


async def test_an_answer_that_is_too_old_is_no_number(room: Room) -> None:
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()
    room.now += STALE + 1

    found = room.scrapes.take("r", 1)

    assert found.read
    assert found.counts == ()
    assert found.problems == {"errors": "the last answer is 11 s old"}
    await room.scrapes.close()


async def test_a_look_that_fails_is_a_reason_and_not_a_crash(room: Room) -> None:
    room.error = RuntimeError("a bug")
    room.scrapes.begin("r", 1, WANTED)
    await room.ended()

    assert "a bug" in room.scrapes.take("r", 1).problems["errors"]
    assert room.woken == ["r"]
    await room.scrapes.close()


async def test_a_rollout_that_is_forgotten_wakes_nobody(room: Room) -> None:
    room.scrapes.begin("r", 1, WANTED)
    room.scrapes.forget("r")
    await room.ended()

    assert room.woken == []
    assert not room.scrapes.take("r", 1).read
    await room.scrapes.close()
