"""The production checklist of a rollout: each item is proven, failed, or left to a person."""

from typing import Any

import pytest
from distill_api.names import RolloutVerdict
from distill_api.rollout_status import (
    Arms,
    ArmStatus,
    Counted,
    Decision,
    MetricStatus,
    RolloutStatus,
    Savings,
    Weight,
)
from distill_operator.plan.rollout import checklist
from distill_operator.plan.rollout.checklist import Known
from rollout_specs import a_spec
from rollouts import NOW

DAY = 86_400
GUIDE = [
    {"name": "errors", "errors": {}},
    {"name": "latency", "latency": {}},
    {"name": "ranking", "quality": {}},
]


def metric(name: str, verdict: str, lower: str | None = None, upper: str | None = None) -> Any:
    counts = None if lower is None else Counted(count=1000, events=1, lower=lower, upper=upper)
    return MetricStatus(
        name=name,
        verdict=RolloutVerdict(verdict),
        message=f"{name} as it was found",
        critical=True,
        student=counts,
    )


def judged(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, tuple[str, str | None]]:
    known = Known(a_spec(**(spec or {"metrics": GUIDE})), RolloutStatus(**status))
    return {
        f"{item.section}: {item.item}": (item.state, item.evidence)
        for item in checklist.updated(RolloutStatus(), known)
    }


def test_serving_needs_a_share_and_endpoints() -> None:
    item = "Deployment: Set up model serving"
    student = ArmStatus(ready=2, wanted=2, endpoint="minilm-student")
    serves = {"arms": Arms(student=student), "weight": Weight(desired=50, verified=True)}
    assert judged(**serves)[item] == (
        "Proven",
        "2 endpoints of minilm-student take 5% of the traffic.",
    )
    assert judged(**serves | {"weight": Weight(desired=0, verified=True)})[item][0] == "Pending"
    assert judged()[item][0] == "Pending"


@pytest.mark.parametrize(("first", "state"), [(5, "Proven"), (10, "Failed")])
def test_the_canary_is_the_first_step(first: int, state: str) -> None:
    spec = {"metrics": GUIDE, "schedule": {"steps": [{"weight": first}, {"weight": 100}]}}
    item = "A/B Testing: Set up canary at 5%"
    assert judged(spec, phase="Progressing")[item][0] == state
    assert judged(spec, phase="Preparing")[item][0] == "Pending"


@pytest.mark.parametrize(
    ("soak", "reason", "state"),
    [
        (DAY, "StepDone", "Proven"),
        (3600, "StepDone", "Failed"),
        (DAY, "StepApprovedByUser", "Failed"),
    ],
)
def test_a_day_at_each_share_is_known_once_promoted(soak: int, reason: str, state: str) -> None:
    steps = [{"weight": w, "minSoakSeconds": soak} for w in (5, 100)]
    spec = {"metrics": GUIDE, "schedule": {"steps": steps}}
    past = Decision(
        id=1, at=NOW, from_="Progressing", to="Progressing", step=1, weight=50, reason=reason,
        message="as it was",
    )  # fmt: skip
    item = "A/B Testing: Ran 24 hours or more at each share"
    assert judged(spec, phase="Promoted", history=[past])[item][0] == state
    assert judged(spec, phase="Progressing", history=[past])[item][0] == "Pending"


@pytest.mark.parametrize(
    ("lower", "upper", "state"),
    [("0.0001", "0.004", "Proven"), ("0.006", "0.01", "Failed"), ("0.001", "0.02", "Pending")],
)
def test_an_error_rate_is_proven_by_its_interval(lower: str, upper: str, state: str) -> None:
    found = judged(metrics=[metric("errors", "Undecided", lower, upper)])
    for item in (
        "Go/No-Go: Error rate below 0.5% in production",
        "Monitoring: Error rate below 0.5%",
    ):
        assert found[item][0] == state


@pytest.mark.parametrize(
    ("verdict", "lower", "upper", "state"),
    [
        ("Healthy", "0.92", "1.01", "Proven"),
        ("Undecided", "0.94", "1.01", "Proven"),
        ("Undecided", "0.90", "1.01", "Pending"),
        ("Regressed", "0.50", "0.92", "Failed"),
        # Worse than the teacher beyond doubt, and still above the guide's gate or not: not known.
        ("Regressed", "0.92", "0.97", "Pending"),
    ],
)
def test_quality_is_judged_at_93_percent(verdict: str, lower: str, upper: str, state: str) -> None:
    found = judged(metrics=[metric("ranking", verdict, lower, upper)])
    assert found["Go/No-Go: Quality of 93% of the teacher or more"][0] == state


def test_a_healthy_quality_above_a_lax_limit_proves_nothing() -> None:
    lax = [*GUIDE[:2], {"name": "ranking", "quality": {"limit": 0.8}}]
    found = judged({"metrics": lax}, metrics=[metric("ranking", "Healthy", "0.85", "1.0")])
    assert found["Go/No-Go: Quality of 93% of the teacher or more"][0] == "Pending"


@pytest.mark.parametrize(
    ("limit", "verdict", "state"),
    [
        (150, "Healthy", "Proven"),
        (150, "Regressed", "Failed"),
        (150, "Undecided", "Pending"),
        (1000, "Healthy", "NeedsPerson"),
    ],
)
def test_latency_is_judged_at_150_milliseconds(limit: int, verdict: str, state: str) -> None:
    spec = {"metrics": [GUIDE[0], {"name": "slow", "latency": {"limitMilliseconds": limit}}]}
    found = judged(spec, metrics=[metric("slow", verdict, "0.01", "0.02")])
    assert found["Go/No-Go: P95 latency below 150 ms"][0] == state


def test_savings_need_prices() -> None:
    saved = Savings(
        currency="EUR",
        teacher_million_requests="3",
        student_million_requests="1",
        share="0.667",
        per_day="2",
        break_even_days="15",
    )
    found = judged(savings=saved)
    assert found["Cost Tracking: Projected monthly savings"] == ("Proven", "60.00 EUR a month.")
    assert found["Cost Tracking: Break-even timeline confirmed"] == ("Proven", "After 15 days.")
    assert found["Go/No-Go: Cost savings above 50%"][0] == "Proven"
    unpriced = judged()
    assert {unpriced[item][0] for item in unpriced if "Cost" in item} == {"NeedsPerson"}


def test_a_way_back_is_named() -> None:
    state, words = judged()["A/B Testing: Rollback procedure documented"]
    assert state == "Proven"
    assert "errors, latency, ranking roll back by themselves" in (words or "")
    asks = [{"name": "errors", "errors": {}, "onRegression": "Pause"}]
    assert (
        judged({"metrics": asks})["A/B Testing: Rollback procedure documented"][0] == "NeedsPerson"
    )


def test_what_was_proven_stays_for_the_same_student_only() -> None:
    known = Known(
        a_spec(metrics=GUIDE),
        RolloutStatus(epoch=1, metrics=[metric("errors", "Healthy", "0.0001", "0.004")]),
    )
    before = RolloutStatus(epoch=1, checklist=checklist.updated(RolloutStatus(), known))

    def rate(epoch: int) -> str:
        now = Known(known.spec, RolloutStatus(epoch=epoch))
        found = checklist.updated(before, now)
        return next(one.state for one in found if one.item == "Error rate below 0.5%")

    assert (rate(1), rate(2)) == ("Proven", "Pending")
