"""A lease is taken only when free, and a holder stops by its own clock."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import pytest
from distill_operator import errors
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.leadership import Leadership
from distill_operator.effects.lease import Election, Sighting, Terms, free, wanted
from distill_operator.plan.model import Manifest

TERMS = Terms("ns", "kubedistill", "me")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def held_by(name: str, **spec: object) -> Manifest:
    return {"spec": {"holderIdentity": name, "leaseDurationSeconds": 15} | spec}


CASES = [
    ("it is ours", held_by("me"), 0.0, True),
    ("it was given up", held_by(""), 0.0, True),
    ("another renewed it just now", held_by("other"), 1.0, False),
    ("another's time is not quite over", held_by("other"), 15.0, False),
    ("another did not renew it in time", held_by("other"), 15.1, True),
    ("another asked for longer", held_by("other", leaseDurationSeconds=60), 20.0, False),
]


@pytest.mark.parametrize(("why", "old", "age", "expected"), CASES, ids=[c[0] for c in CASES])
def test_whether_the_lease_is_free(why: str, old: Manifest, age: float, *, expected: bool) -> None:
    assert free(old, Sighting("7", 100.0), TERMS, now=100.0 + age) is expected


def test_a_change_of_holder_is_counted_and_a_renewal_is_not() -> None:
    taken = wanted(held_by("other", leaseTransitions=3), TERMS, NOW)
    assert (taken["holderIdentity"], taken["leaseTransitions"]) == ("me", 4)

    renewed = wanted({"spec": taken | {"acquireTime": "before"}}, TERMS, NOW)
    assert (renewed["acquireTime"], renewed["leaseTransitions"]) == ("before", 4)


def test_leading_ends_by_the_clock_alone() -> None:
    now = [0.0]
    leadership = Leadership(lambda: now[0])
    leadership.hold(10.0)
    leadership.require()

    now[0] = 10.0

    assert not leadership.held
    with pytest.raises(errors.NotLeading):
        leadership.require()


def test_the_writes_of_a_holder_that_lost_the_lease_end_before_the_next_one_begins() -> None:
    from distill_operator.effects.cluster import WRITE_SECONDS

    assert TERMS.renew_deadline + WRITE_SECONDS <= TERMS.duration


class Leases(Cluster):
    """One Lease, written as the API server lets it be: only over what was read."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.version = 0

    def _fence(self) -> None:
        """Allow every write: a lease is how writing is allowed."""

    async def _call(self, request: Request) -> Manifest:
        # Whoever else is at it gets in between a read and the write after it.
        await asyncio.sleep(0)
        if request.verb == "GET":
            if self.lease is None:
                raise errors.Missing("404")
            return self.lease
        assert isinstance(request.body, dict)
        given = request.body["metadata"].get("resourceVersion")
        if request.verb == "POST" and self.lease is not None:
            raise errors.Exists("409")
        if request.verb == "PUT" and given != str(self.version):
            raise errors.Conflict("409")
        self.version += 1
        meta = request.body["metadata"] | {"resourceVersion": str(self.version)}
        self.lease = request.body | {"metadata": meta}
        return self.lease


GIVEN_UP: Final = {"namespace": "ns", "name": "kubedistill", "resourceVersion": "1"}


@pytest.mark.parametrize("given_up", [False, True])
async def test_of_two_replicas_that_start_together_one_leads(*, given_up: bool) -> None:
    leases = Leases()
    if given_up:
        leases.lease, leases.version = held_by("") | {"metadata": GIVEN_UP}, 1
    leaders = [Leadership(time.monotonic) for _ in range(2)]
    terms = [Terms("ns", "kubedistill", name, retry=0.001) for name in ("one", "other")]
    elections = [
        Election(leases, term, leader, time.monotonic)
        for term, leader in zip(terms, leaders, strict=True)
    ]
    running = [asyncio.create_task(election.run()) for election in elections]
    seen = set()
    for _ in range(50):
        await asyncio.sleep(0.001)
        seen.add(tuple(leader.held for leader in leaders))
    for task in running:
        task.cancel()

    assert (True, True) not in seen
    assert len([held for held in seen if any(held)]) == 1, "and it is the same one all the time"
