"""The contract of a rollout and the operator's decisions use the same words."""

from distill_api.names import RolloutConditionType, RolloutPhase, RolloutReason, RolloutVerdict
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Errors, OnRegression
from distill_api.rollout_policies import Action, Evidence, ForeignWeights
from distill_api.rollout_schedule import Step
from distill_operator.plan.rollout import conditions, phases, policy
from distill_operator.render.rollout import order
from distill_operator.statistics import budget, sprt, verdict


def test_phases_verdicts_and_conditions_are_the_planners() -> None:
    assert [p.value for p in RolloutPhase] == [p.value for p in phases.Phase]
    assert [v.value for v in RolloutVerdict] == [v.value for v in verdict.Verdict]
    assert {c.name: c.value for c in RolloutConditionType} == {
        kind.name: kind.value for kind in conditions.Kind
    }


def test_every_signal_that_moves_a_rollout_has_a_reason_of_its_name() -> None:
    missing = [
        signal.name for signal in phases.Signal if signal.name not in RolloutReason.__members__
    ]
    assert missing == []
    moved = [RolloutReason[signal.name] for signal in phases.Signal]
    assert len(moved) == len(set(moved)) >= 20


def test_choices_are_the_planners() -> None:
    assert [a.value for a in Action] == [a.value for a in policy.Action]
    assert [f.value for f in ForeignWeights] == [f.value for f in policy.Foreign]
    assert [o.value for o in OnRegression] == [o.value for o in policy.OnRegression]
    assert [r.value for r in Runtime] == [r.value for r in order.Runtime]


def test_the_default_minimum_of_requests_finds_five_times_the_limit() -> None:
    """What the field's description promises: a student that fails so often is found in time."""
    evidence, errors = Evidence(), Errors()
    share = {"errors": errors.alpha_weight, "latency": 0.2, "quality": 0.3, "others": 0.1}
    alpha = budget.alpha_of_round(budget.alphas(evidence.alpha, share)["errors"], 0)
    design = sprt.Design(errors.fine, errors.limit, alpha, evidence.beta, ville=True)
    needed = sprt.requests_to_detect(design, 5 * errors.limit, chance=0.95)
    assert needed == 335
    assert needed <= Step(weight=5).min_requests < 2 * needed
