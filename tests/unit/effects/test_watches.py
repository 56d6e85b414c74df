"""A watch that does not deliver what it owes is found out, and the store is repaired."""

from typing import Any

import pytest
from distill_operator.effects import watches as module
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DISTILLATION_JOB, JOB, Kind
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.store import Store
from distill_operator.effects.watches import GRACE, Scope, Watches
from distill_operator.plan.model import Manifest


def body(uid: str, version: int, owner: str = "o") -> Manifest:
    meta: Manifest = {"uid": uid, "name": uid, "namespace": "a", "resourceVersion": str(version)}
    return {"metadata": meta | {"labels": {"kubedistill.io/job-uid": owner}}}


class Lists(Cluster):
    """Answers lists from what the test says is there."""

    def __init__(self) -> None:
        self.there: dict[Kind, list[Manifest]] = {}
        self.version = 1

    async def list(self, kind: Kind, *_: Any, **__: Any) -> Any:
        return list(self.there.get(kind, [])), str(self.version)


class Room:
    """Watches with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.lists = Lists()
        self.store = Store()
        self.woken: list[str] = []
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.watches = Watches(self.lists, self.store, Metrics(), Scope(), self._wake)

    def _wake(self, _: Kind, found: Manifest) -> None:
        self.woken.append(found["metadata"]["uid"])


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


async def test_the_first_list_fills_the_store_and_owes_nothing(room: Room) -> None:
    room.lists.there[JOB] = [body("j", 5)]
    assert not room.watches.synced

    await room.watches.resync()

    room.now += 10 * GRACE
    assert room.watches.synced
    assert room.woken == ["j"]
    assert room.watches.dead() == []


async def test_a_change_that_only_a_list_shows_wakes_the_job_and_is_owed(room: Room) -> None:
    await room.watches.resync()
    room.lists.there[JOB] = [body("j", 5)]
    await room.watches.resync()
    assert room.woken == ["j"]

    room.now += GRACE - 1
    assert room.watches.dead() == []
    room.now += 2
    assert room.watches.dead() == ["jobs"]

    room.watches.deliver(JOB, "ADDED", body("j", 5))
    assert room.watches.dead() == []


async def test_an_own_write_is_owed_too(room: Room) -> None:
    room.watches.remember(DISTILLATION_JOB, body("d", 7))

    room.now += GRACE + 1

    assert room.watches.dead() == ["distillationjobs"]
    room.watches.deliver(DISTILLATION_JOB, "MODIFIED", body("d", 9))
    assert room.watches.dead() == []


async def test_what_the_watch_delivered_first_is_not_owed(room: Room) -> None:
    room.watches.deliver(JOB, "ADDED", body("j", 5))
    room.watches.remember(JOB, body("j", 5))

    room.now += GRACE + 1

    assert room.watches.dead() == []


async def test_a_deletion_that_the_watch_missed_is_found_by_a_list(room: Room) -> None:
    room.watches.deliver(JOB, None, body("j", 5))
    room.lists.version = 9

    await room.watches.resync()

    assert room.store.children(JOB, "o") == []
    assert room.woken == ["j", "j"]


async def test_old_news_wakes_nobody(room: Room) -> None:
    room.watches.deliver(JOB, "ADDED", body("j", 5))
    room.watches.deliver(JOB, "MODIFIED", body("j", 4))
    room.watches.deliver(JOB, "DELETED", body("j", 6))
    room.watches.deliver(JOB, "DELETED", body("j", 6))

    assert room.woken == ["j", "j"]
    assert room.watches.ages() == {"jobs": 0.0}
