"""What the student's quality is compared with, and what is said where there is nothing."""

from dataclasses import replace
from typing import Any

import pytest
from distill_operator.plan.rollout import baselines, evidence, judgement, policies, resolve
from distill_operator.plan.rollout.baselines import Known
from distill_operator.plan.rollout.evidence import Epoch, Evidence
from distill_operator.plan.rollout.judgement import Reading
from distill_operator.plan.rollout.model import ObservedMetrics, PairedScores, PreviousStudent
from distill_operator.plan.rollout.policy import Policy
from distill_operator.plan.rollout.resolve import Given
from distill_operator.statistics import quality
from distill_operator.statistics.verdict import Finding, Reference, Verdict
from rollout_specs import ARTIFACT, a_spec
from rollouts import NOW, OWNER, SETTINGS

OF_LAST = {"previousRef": {"name": "last"}}
EVALUATED = replace(ARTIFACT, job="minilm", scores={"nDCG@10": 0.61, "RR": 1.25})


def policy(known: Known, **asked: Any) -> Policy:
    spec = a_spec(
        metrics=[{"name": "rank", "quality": asked}],
        prober={"queries": {"uri": "oci://registry.example.com/queries:v1"}},
    )
    return policies.of(spec, known)


def reference(known: Known, **asked: Any) -> Reference | None:
    (metric,) = policy(known, **asked).metrics
    assert isinstance(metric.rule, quality.Rule)
    return metric.rule.reference


def test_a_plan_compares_with_the_rollout_that_was_seen() -> None:
    spec = a_spec(
        metrics=[{"name": "rank", "quality": PREVIOUS}],
        prober={"queries": {"uri": "oci://registry.example.com/queries:v1"}},
    )
    previous = last(nDCGat10=0.5).previous
    found = resolve.of(Given(OWNER, spec, ARTIFACT, SETTINGS, previous))
    rule = found.policy.metrics[0].rule
    assert isinstance(rule, quality.Rule)
    assert rule.reference == Reference("the last student's", 0.5)


def last(*, promoted: bool = True, **scores: float) -> Known:
    told = {name.replace("at", "@"): score for name, score in scores.items()}
    return Known(previous={"last": PreviousStudent(promoted, told)})


KNOWN: list[tuple[Known, dict[str, Any], str, float]] = [
    (Known(), {"baseline": "Absolute", "reference": 0.7}, "the reference", 0.7),
    (Known(EVALUATED), {"baseline": "OfflineEvaluation"}, "its offline evaluation's", 0.61),
    (last(nDCGat10=0.5), {"baseline": "PreviousStudent"} | OF_LAST, "the last student's", 0.5),
]


@pytest.mark.parametrize(("known", "asked", "whose", "score"), KNOWN)
def test_a_baseline_is_a_score_with_a_name(
    known: Known, asked: dict[str, Any], whose: str, score: float
) -> None:
    assert reference(known, **asked) == Reference(whose, score)


def test_the_teacher_is_no_constant() -> None:
    assert reference(Known(EVALUATED)) is None


OFFLINE = {"baseline": "OfflineEvaluation"}
PREVIOUS = {"baseline": "PreviousStudent"} | OF_LAST
UNKNOWN: list[tuple[Known, dict[str, Any], str]] = [
    (Known(ARTIFACT), OFFLINE, "no DistillationJob made the artifact"),
    (Known(replace(ARTIFACT, problem="it waits")), OFFLINE, "it waits"),
    (Known(EVALUATED), OFFLINE | {"measure": "AP"}, "has evaluated RR, nDCG@10, and not AP"),
    (Known(EVALUATED), OFFLINE | {"measure": "RR"}, "is 1.25, and shares are taken of scores"),
    (Known(), PREVIOUS, "there is no DistilledModelRollout last"),
    (last(promoted=False, nDCGat10=0.5), PREVIOUS, "last has not promoted its student"),
    (last(RR=0.5), PREVIOUS, "last has no score of nDCG@10"),
    (last(nDCGat10=0.0), PREVIOUS, "is 0.0, and shares are taken of scores above 0"),
]


@pytest.mark.parametrize(("known", "asked", "said"), UNKNOWN)
def test_a_baseline_that_is_not_known_says_why(
    known: Known, asked: dict[str, Any], said: str
) -> None:
    found = reference(known, **asked)
    assert found is not None
    assert found.score is None
    assert said in str(found.unknown)


def judged(policy: Policy, *scores: float) -> tuple[Finding, judgement.Judgement]:
    """Judge the student's scores of one look, beside a teacher that scored 1 each time."""
    numbers = tuple(range(1, len(scores) + 1))
    entry = PairedScores("rank", "p1", tuple((s, 1.0) for s in scores), numbers, len(scores))
    seen = baselines.compared(ObservedMetrics(scores=(entry,)), policy)
    taken = evidence.take(Evidence(), seen, policy, Epoch(NOW, frozenset()), now=NOW)
    found, _ = evidence.judge(taken, policy, read=True, per_second=None)
    return found[0][1], judgement.together(found, Reading(asked=True, measured=taken.measured))


def test_the_student_is_compared_with_the_constant_and_not_with_the_teacher() -> None:
    against = policy(Known(EVALUATED), **OFFLINE)
    good, told = judged(against, *([0.58, 0.64] * 400))
    assert good.verdict is Verdict.HEALTHY
    assert "over 800 queries the student keeps 100 % of its offline evaluation's 0.61" in (
        told.sentence
    )
    assert good.student.score == pytest.approx(0.61)

    bad, told = judged(against, *([0.52, 0.58] * 400))
    assert bad.verdict is Verdict.REGRESSED
    assert "90.2 % of its offline evaluation's 0.61 (nDCG@10)" in str(told.rollback)


def test_without_its_constant_a_metric_blocks_and_blames_nobody() -> None:
    found, told = judged(policy(Known(), **PREVIOUS), *([0.0] * 500))
    assert (found.verdict, found.student.count) == (Verdict.NO_DATA, 0)
    assert (told.verdict, told.rollback, told.pause) == (Verdict.NO_DATA, None, None)
    assert told.sentence == (
        "rank: there is nothing to compare with, so nothing is decided:"
        " there is no DistilledModelRollout last beside this one."
    )
    # Measuring works, so that no outage of the metrics runs out.
    assert told.missing is None
    assert told.fresh


def test_queries_that_came_without_the_constant_are_taken_in_once_it_is_known() -> None:
    entry = PairedScores("rank", "p1", ((0.6, 1.0),) * 9, tuple(range(1, 10)), 9)
    state = Evidence()
    counted = []
    for known in (Known(), last(nDCGat10=0.6), last(nDCGat10=0.6)):
        asked = policy(known, **PREVIOUS)
        seen = baselines.compared(ObservedMetrics(scores=(entry,)), asked)
        state = evidence.take(state, seen, asked, Epoch(NOW, frozenset()), now=NOW).evidence
        counted.append(state.qualities["rank"].sums.pairs)
    assert counted == [0, 9, 9]
