"""The contract of a rollout and the operator's decisions use the same words."""

from distill_api.names import RolloutReason, RolloutVerdict
from distill_api.rollout_metrics import Errors
from distill_api.rollout_policies import Evidence
from distill_api.rollout_schedule import Step
from distill_operator.plan.rollout import phases
from distill_operator.statistics import budget, sprt, verdict


def test_verdicts_are_those_of_the_statistics() -> None:
    """The statistics know no contract, so they have a list of their own."""
    assert [v.value for v in RolloutVerdict] == [v.value for v in verdict.Verdict]


def test_every_signal_that_moves_a_rollout_has_a_reason_of_its_name() -> None:
    missing = [
        signal.name for signal in phases.Signal if signal.name not in RolloutReason.__members__
    ]
    assert missing == []
    moved = [RolloutReason[signal.name] for signal in phases.Signal]
    assert len(moved) == len(set(moved)) >= 20


def test_the_default_minimum_of_requests_finds_five_times_the_limit() -> None:
    """What the field's description promises: a student that fails so often is found in time."""
    evidence, errors = Evidence(), Errors()
    share = {"errors": errors.alpha_weight, "latency": 0.2, "quality": 0.3, "others": 0.1}
    alpha = budget.alpha_of_round(budget.alphas(evidence.alpha, share)["errors"], 0)
    design = sprt.Design(errors.fine, errors.limit, alpha, evidence.beta, ville=True)
    needed = sprt.requests_to_detect(design, 5 * errors.limit, chance=0.95)
    assert needed == 335
    assert needed <= Step(weight=5).min_requests < 2 * needed
