"""Counters of containers that come, go, restart and are read late: what was gained is right."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from distill_operator.statistics import deltas
from distill_operator.statistics.deltas import Ledger, Rules, Sample

RULES = Rules(began=100)
type Read = tuple[str, float, float, dict[str, int]]


def read(ledger: Ledger, *reads: Read, rules: Rules = RULES) -> tuple[Ledger, Mapping[str, int]]:
    """Take in one look; a read is (series, started, at, counters)."""
    return deltas.advance(ledger, [Sample(*one) for one in reads], rules)


def follow(*looks: Read, rules: Rules = RULES) -> Ledger:
    """Take in looks at one series each, one after the other."""
    ledger = Ledger()
    for look in looks:
        ledger, _ = read(ledger, look, rules=rules)
    return ledger


def seen(at: float, requests: int, failures: int | None = None) -> Read:
    counters = {"requests": requests} | ({} if failures is None else {"failures": failures})
    return ("pod/1", 150, at, counters)


CASES: list[tuple[str, list[Read], dict[str, int]]] = [
    ("a new series counts from 0", [seen(200, 7, 2)], {"requests": 7, "failures": 2}),
    ("gains add up", [seen(200, 7, 2), seen(215, 9, 2)], {"requests": 9, "failures": 2}),
    ("the same scrape twice adds nothing", [seen(200, 7, 2)] * 2, {"requests": 7, "failures": 2}),
    (
        "a counter that fell began anew",
        [seen(200, 100, 5), seen(215, 8, 1)],
        {"requests": 108, "failures": 6},
    ),
    (
        "one that fell takes the others along, though they are higher than before",
        [seen(200, 100, 5), seen(215, 150, 1)],
        {"requests": 250, "failures": 6},
    ),
    (
        "failures that appear later count from 0",
        [seen(200, 10), seen(215, 20, 3)],
        {"requests": 20, "failures": 3},
    ),
    (
        "failures that are missing once are not 0",
        [seen(200, 10, 3), seen(215, 20), seen(230, 30, 3)],
        {"requests": 30, "failures": 3},
    ),
    (
        "after a restart without failures yet, the first ones count in full",
        [seen(200, 100, 5), seen(215, 8), seen(230, 12, 3)],
        {"requests": 112, "failures": 8},
    ),
    (
        "an older scrape that comes late is no restart",
        [seen(200, 100, 5), seen(190, 90, 4), seen(215, 110, 5)],
        {"requests": 110, "failures": 5},
    ),
]


@pytest.mark.parametrize(("why", "looks", "totals"), CASES, ids=[c[0] for c in CASES])
def test_totals(why: str, looks: list[Read], totals: dict[str, int]):
    assert follow(*looks).totals == totals


def test_a_container_older_than_the_rollout_counts_from_now_on():
    ledger, gained = read(Ledger(), ("old/1", 50, 200, {"requests": 9000}))
    assert gained == {"requests": 0}
    _, gained = read(ledger, ("old/1", 50, 215, {"requests": 9012}))
    assert gained == {"requests": 12}


def test_or_not_at_all():
    rules = replace(RULES, ignore_older=True)
    ledger, gained = read(Ledger(), ("old/1", 50, 200, {"requests": 9000}), rules=rules)
    assert (ledger, gained) == (Ledger(), {})


def test_a_series_that_vanished_and_came_back_lost_nothing():
    ledger = follow(seen(200, 100, 5))
    ledger, gained = read(ledger)
    assert gained == {}
    _, gained = read(ledger, seen(260, 130, 6))
    assert gained == {"requests": 30, "failures": 1}


def test_a_container_that_is_gone_is_forgotten_and_its_requests_are_not():
    ledger = follow(seen(200, 100, 5))
    ledger, _ = deltas.advance(ledger, [], RULES, alive=())
    assert (ledger.series, ledger.totals) == ({}, {"requests": 100, "failures": 5})


def test_a_new_container_of_the_same_pod_is_another_series():
    ledger, _ = read(follow(seen(200, 100, 5)), ("pod/2", 210, 215, {"requests": 120}))
    assert ledger.totals["requests"] == 220


def test_the_first_requests_of_a_container_are_set_aside():
    rules = replace(RULES, warm_requests=20)
    ledger = follow(seen(200, 12, 4), seen(215, 25, 6), seen(230, 40, 6), rules=rules)
    assert ledger.set_aside == {"requests": 25, "failures": 6}
    assert ledger.totals == {"requests": 15, "failures": 0}


def test_so_are_its_first_seconds_by_the_readers_clock():
    rules = replace(RULES, warm_seconds=30)
    looks = [seen(200, 12), seen(229, 25), seen(231, 40), seen(245, 60)]
    ledger = follow(*looks, rules=rules)
    assert ledger.set_aside == {"requests": 40}
    assert ledger.totals == {"requests": 20}


def test_a_container_that_served_before_the_rollout_is_warm():
    rules = replace(RULES, warm_requests=20, warm_seconds=30)
    ledger, _ = read(Ledger(), ("old/1", 50, 200, {"requests": 5}), rules=rules)
    _, gained = read(ledger, ("old/1", 50, 201, {"requests": 8}), rules=rules)
    assert gained == {"requests": 3}
