"""Cost in a rollout: what is summed up, when it is told, and what it holds up."""

from datetime import timedelta
from typing import Any

import pytest
from distill_api.rollout_metrics import OnRegression
from distill_operator.plan.rollout import policies, record, report
from distill_operator.plan.rollout.model import Arm
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.policy import Metric, Step
from distill_operator.statistics import rate, saving
from distill_operator.statistics.saving import Prices
from distill_operator.statistics.verdict import Finding
from rollout_specs import a_spec
from rollout_world import World, a_world
from rollouts import ERRORS

CHEAP = Prices("EUR", teacher=250, student=50)
DEAR = Prices("EUR", teacher=250, student=200)
STEPS = tuple(Step(weight, timedelta(minutes=1)) for weight in (5, 25, 50, 100))


def cost(
    prices: Prices = CHEAP, *, window: float = 600, action: OnRegression = OnRegression.ROLLBACK
) -> Metric:
    return Metric(saving.Rule("cost", 0.5, window, prices), action)


def world(metric: Metric) -> World:
    return a_world(metrics=(ERRORS, metric), steps=STEPS)


def finding(seen: World) -> Finding:
    assert seen.last is not None
    return {metric.name: found for metric, found in seen.last.found}["cost"]


def test_early_steps_pass_and_the_last_ones_wait_for_the_window() -> None:
    found = world(cost(window=1200)).to_step(3)
    assert finding(found).verdict == "Undecided"
    while finding(found).verdict == "Undecided":
        assert (found.phase, found.memory.step) == (Phase.PROGRESSING, 2)
        found.later(10)
        found.turn()
    assert finding(found).verdict == "Healthy"
    assert found.memory.clocks.watched == pytest.approx(1200, abs=20)
    found.run(2400, until=Phase.PROMOTED)


def test_the_sum_is_of_the_students_requests_that_were_counted() -> None:
    found = world(cost()).to_step(2)
    sent = sum(pod.requests for pod in found.sides[Arm.STUDENT].pods)
    told = finding(found)
    assert told.student.count == sent > 0
    assert told.saving is not None
    assert told.saving.student == pytest.approx(sent * 50 / 1e6)
    assert told.saving.teacher == pytest.approx(sent * 250 / 1e6)


def test_time_with_an_unverified_weight_is_not_watched() -> None:
    found = world(cost(window=3600)).to_step(2)
    found.gateway_stuck = True
    found.edit_weights(300)
    found.turn()
    before = found.memory.clocks.watched
    for _ in range(30):
        found.later(10)
        found.turn()
    assert found.memory.clocks.watched <= before + 10


def test_a_student_that_saves_too_little_is_rolled_back_after_the_window_and_not_before() -> None:
    found = world(cost(DEAR, window=300)).to_step(3)
    assert finding(found).warn
    found.run(1200, until=Phase.ROLLING_BACK)
    assert found.memory.clocks.watched >= 300
    assert "20 % saved. Regressed: at least 50 % is asked for." in found.memory.transition.why


def test_a_person_may_be_asked_instead() -> None:
    found = world(cost(DEAR, window=300, action=OnRegression.PAUSE)).to_step(3)
    found.run(1200, until=Phase.PAUSED)
    assert "20 % saved" in found.memory.transition.why


def test_a_new_try_begins_a_new_sum() -> None:
    found = world(cost(DEAR, window=300)).to_step(3)
    found.run(1200, until=Phase.ROLLED_BACK)
    found.order(retry="again")
    found.to_step(1)
    assert found.memory.clocks.watched <= 60
    assert finding(found).verdict == "Undecided"


def test_an_outage_keeps_the_sum_and_decides_nothing() -> None:
    found = world(cost(window=60)).to_step(3)
    before = finding(found).student.count
    found.metrics_down = True
    found.later(10)
    found.turn()
    told = finding(found)
    assert (told.verdict, told.student.count) == ("NoData", before)


def test_status_has_the_share_and_a_record_of_before_is_read() -> None:
    found = world(cost(window=60)).to_step(3)
    assert found.last is not None
    status = {m.name: report._metric(m, f) for m, f in found.last.found}["cost"]
    assert (status.fine, status.limit, status.reference) == ("0.5", "0.5", None)
    assert status.student is not None
    assert status.student.estimate == "0.8"

    dumped = record.dump(found.state)
    del dumped["memory"]["clocks"]["watched"]
    assert record.load(dumped).memory.clocks.watched == 0


def of_spec(**prices: Any) -> tuple[Metric, ...]:
    wanted = [
        {"name": "errors", "errors": {}},
        {"name": "cost", "onRegression": "Pause", "cost": {"minSaving": 0.6}},
        {"name": "latency", "latency": {}},
    ]
    return policies.of(a_spec(metrics=wanted, prices=prices)).metrics


def test_a_spec_with_prices_has_its_cost_and_the_tests_lose_nothing_to_it() -> None:
    metrics = of_spec(currency="EUR", teacherMillionRequests=250, studentMillionRequests=50)
    assert [metric.name for metric in metrics] == ["errors", "cost", "latency"]
    found = metrics[1]
    assert found.rule == saving.Rule("cost", 0.6, 86_400, CHEAP)
    assert (found.on_regression, found.moves, found.per_step) == ("Pause", True, False)
    rules = [metric.rule for metric in metrics if isinstance(metric.rule, rate.Rule)]
    assert sum(rule.design.beta for rule in rules) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "prices",
    [
        {"cpuHour": 0.04, "gpuHour": 2.0},
        {"teacherMillionRequests": 250},
        {"teacherMillionRequests": 0, "studentMillionRequests": 0},
    ],
)
def test_hourly_prices_are_no_prices_of_a_request(prices: dict[str, float]) -> None:
    rule = of_spec(**prices)[1].rule
    assert isinstance(rule, saving.Rule)
    assert rule.prices is None
