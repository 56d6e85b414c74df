"""Simulated rollouts end as they should, within the error rates that were promised."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

COUNT = 200
FALSE_ROLLBACKS = 0.01
MISSED = 0.05
NAMES = (
    "healthy, 0.3 % fail",
    "at the limit, 0.5 % fail",
    "bad, 1 % fail",
    "bad, 2 % fail",
    "crashes, 50 % fail",
    "breaks after an hour, 50 % fail",
    "outage of both arms, 10 minutes",
    "slow, 5 % above the limit",
    "quality -2 %",
    "quality -5 %",
    "quality -8 %",
    "low traffic, healthy",
    "low traffic, 2 % fail",
    "failures in bursts, 0.3 % fail",
)


@pytest.fixture(scope="module")
def rollouts() -> "Iterator[ModuleType]":
    """Give the module of the bench, by its file: its name is also that of a builder."""
    bench = Path(__file__).resolve().parents[2] / "bench"
    spec = importlib.util.spec_from_file_location("bench_rollouts", bench / "rollouts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(bench))
        patch.setitem(sys.modules, "bench_rollouts", module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("name", NAMES)
def test_a_student(name: str, rollouts: "ModuleType"):
    told = {one.name: one for one in rollouts.scenarios.SCENARIOS}
    assert tuple(told) == NAMES
    row = rollouts.run(told[name], rollouts.rules(), COUNT, seed=7)
    if row.good:
        assert row.rolled_back <= FALSE_ROLLBACKS
        assert row.promoted >= 1 - FALSE_ROLLBACKS
    else:
        assert row.promoted <= MISSED
        assert row.rolled_back >= 1 - MISSED


def test_the_threshold_rule_rolls_a_healthy_student_back(rollouts: "ModuleType"):
    row = rollouts.run(rollouts.scenarios.SCENARIOS[0], rollouts.rules(), COUNT, seed=7)
    assert row.threshold_rolled_back > 0.9
    assert "| healthy, 0.3 % fail | promoted |" in rollouts.table([row])


def test_quality_exactly_at_both_limits(rollouts: "ModuleType"):
    """At the ratio that is fine it may go back with alpha; at the limit, be promoted with beta."""
    told = {one.name: one for one in rollouts.scenarios.SCENARIOS}
    # With 0.95 as fine, a student at -5 % is fine by definition: promoting it is no miss.
    lenient = rollouts.rules(fine=0.95, limit=0.93)
    row = rollouts.run(told["quality -5 %"], lenient, COUNT, seed=7)
    assert row.promoted >= 1 - FALSE_ROLLBACKS
