"""A lease is taken only when free, and a holder stops by its own clock."""

from datetime import UTC, datetime

import pytest
from distill_operator import errors
from distill_operator.effects.leadership import Leadership
from distill_operator.effects.lease import Sighting, Terms, free, wanted
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
