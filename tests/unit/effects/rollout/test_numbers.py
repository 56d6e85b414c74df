"""Rollouts as Prometheus sees them: what is known and nothing else, and no label without bound."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import rollout_bodies as bodies
from distill_operator.effects.rollout import numbers
from distill_operator.effects.rollout.numbers import RolloutNumbers
from distill_operator.plan.model import Manifest
from distill_operator.render.order import Owner
from prometheus_client import CollectorRegistry, generate_latest

BEFORE = datetime.fromisoformat(bodies.AT) - timedelta(hours=1)
AFTER = datetime.fromisoformat(bodies.AT) + timedelta(hours=1)
MINI = {"namespace": "team-a", "rollout": "mini"}


def a_rollout(name: str = "mini", **status: Any) -> Manifest:
    return bodies.a_rollout(Owner("team-a", name, f"uid-{name}")) | {"status": status}


def moved(number: int, to: str, reason: str) -> Manifest:
    return {"id": number, "to": to, "reason": reason}


class Numbers:
    """The numbers over a list of rollouts, in a registry."""

    def __init__(self, *rollouts: Manifest, since: datetime = BEFORE) -> None:
        self.rollouts = list(rollouts)
        self.leads = True
        self.registry = CollectorRegistry()
        self.registry.register(
            RolloutNumbers(lambda: self.rollouts, leading=lambda: self.leads, since=since)
        )

    def get(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"kubedistill_{name}", labels)


def test_a_rollout_is_told_by_its_status() -> None:
    found = Numbers(
        a_rollout(
            phase="Progressing",
            verdict="Undecided",
            weight={"desired": 250, "observed": 100, "verified": False, "measuredShare": "0.098"},
            metrics=[
                {"name": "errors", "test": {"llr": "-1.25"}, "predictedSeconds": 90},
                {"name": "slow", "predictedSeconds": 40},
            ],
        )
    )
    assert found.get("rollouts", phase="Progressing") == 1
    assert found.get("rollouts", phase="RolledBack") == 0
    assert found.get("rollout_weight", **MINI) == 0.25
    assert found.get("rollout_weight_on_route", **MINI) == 0.1
    assert found.get("rollout_measured_share", **MINI) == 0.098
    assert found.get("rollout_weight_verified", **MINI) == 0
    assert found.get("rollout_time_to_decision_seconds", **MINI) == 90
    assert found.get("rollout_verdict", **MINI, verdict="Undecided") == 1
    assert found.get("rollout_evidence_llr", **MINI, metric="errors") == -1.25
    assert found.get("rollout_evidence_llr", **MINI, metric="slow") is None


@pytest.mark.parametrize("status", [None, {}, {"phase": "Pending"}])
def test_what_was_not_measured_is_not_zero(status: Manifest | None) -> None:
    found = Numbers(bodies.a_rollout(Owner("team-a", "mini", "u")) | {"status": status})
    assert found.get("rollouts", phase="Pending") == 1
    assert found.get("rollout_weight", **MINI) is None
    assert found.get("rollout_measured_share", **MINI) is None
    assert b"kubedistill_rollouts_left_out 0.0" in generate_latest(found.registry)


def test_transitions_are_counted_once_and_by_their_reason() -> None:
    history = [moved(1, "Preparing", "ArtifactResolved"), moved(2, "Progressing", "ArmsReady")]
    found = Numbers(a_rollout(history=history))
    labels = {"to": "RollingBack", "reason": "MetricRegressed"}
    assert found.get("rollout_transitions_total", to="Preparing", reason="ArtifactResolved") == 1
    assert found.get("rollout_transitions_total", **labels) is None
    history.append(moved(3, "RollingBack", "MetricRegressed"))
    assert found.get("rollout_transitions_total", **labels) == 1
    assert found.get("rollout_transitions_total", **labels) == 1, "a second scrape counts nothing"
    assert found.get("rollout_transitions_total", to="Preparing", reason="ArtifactResolved") == 1


def test_a_new_process_does_not_count_what_was_before_it() -> None:
    history = [moved(7, "Progressing", "ArmsReady")]
    found = Numbers(a_rollout(history=history), since=AFTER)
    assert found.get("rollout_transitions_total", to="Progressing", reason="ArmsReady") is None
    history.append(moved(8, "Progressing", "StepDone"))
    assert found.get("rollout_transitions_total", to="Progressing", reason="StepDone") == 1


def test_only_the_replica_that_leads_counts() -> None:
    history = [moved(1, "Preparing", "ArtifactResolved")]
    found = Numbers(a_rollout(history=history))
    found.leads = False
    labels = {"to": "Preparing", "reason": "ArtifactResolved"}
    assert found.get("rollout_transitions_total", **labels) is None
    found.leads = True
    assert found.get("rollout_transitions_total", **labels) is None, "the other one has counted it"


def test_labels_are_bounded_and_a_rollout_that_is_gone_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbers, "MOST", 2)
    found = Numbers(*(a_rollout(f"r{i}", weight={"desired": 1}) for i in range(5)))
    told = [found.get("rollout_weight", namespace="team-a", rollout=f"r{i}") for i in range(5)]
    assert told == [0.001, 0.001, None, None, None]
    assert found.get("rollouts_left_out") == 3
    assert found.get("rollouts", phase="Pending") == 5
    found.rollouts = found.rollouts[1:]
    assert found.get("rollout_weight", namespace="team-a", rollout="r0") is None
