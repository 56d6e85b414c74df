"""What quality is compared with where that is not the teacher: a constant, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from distill_api.rollout_metrics import Baseline, Quality

from distill_operator.plan.rollout.model import (
    ObservedArtifact,
    ObservedMetrics,
    PairedScores,
    PreviousStudent,
)
from distill_operator.plan.rollout.policy import Policy
from distill_operator.statistics import quality
from distill_operator.statistics.verdict import Reference


@dataclass(frozen=True, slots=True)
class Known:
    """Where constants come from."""

    artifact: ObservedArtifact = field(default_factory=ObservedArtifact)
    previous: Mapping[str, PreviousStudent] = field(default_factory=dict)
    """Other rollouts by name."""


def reference(asked: Quality, known: Known) -> Reference | None:
    """Return what a metric is compared with; None: the teacher's scores, query by query."""
    match asked.baseline:
        case Baseline.TEACHER:
            return None
        case Baseline.ABSOLUTE:
            return _usable("the reference", "the score in quality.reference", asked.reference)
        case Baseline.OFFLINE_EVALUATION:
            return _offline(asked, known.artifact)
        case Baseline.PREVIOUS_STUDENT:
            return _previous(asked, known.previous)


def _offline(asked: Quality, artifact: ObservedArtifact) -> Reference:
    whose, measure = "its offline evaluation's", asked.measure.value
    if artifact.job is None:
        why = artifact.problem or "no DistillationJob made the artifact that is rolled out"
        return Reference(whose, unknown=why)
    if measure not in artifact.scores:
        told = ", ".join(sorted(artifact.scores)) or "nothing"
        why = f"DistillationJob {artifact.job} has evaluated {told}, and not {measure}"
        return Reference(whose, unknown=why)
    subject = f"the student's {measure} in DistillationJob {artifact.job}"
    return _usable(whose, subject, artifact.scores[measure])


def _previous(asked: Quality, previous: Mapping[str, PreviousStudent]) -> Reference:
    name = asked.previous_ref.name if asked.previous_ref else ""
    whose, measure, found = f"the {name} student's", asked.measure.value, previous.get(name)
    if found is None:
        return Reference(whose, unknown=f"there is no DistilledModelRollout {name} beside this one")
    if not found.promoted:
        return Reference(whose, unknown=f"rollout {name} has not promoted its student")
    if measure not in found.scores:
        return Reference(whose, unknown=f"rollout {name} has no score of {measure} in its status")
    return _usable(whose, f"the {measure} of rollout {name}", found.scores[measure])


def _usable(whose: str, subject: str, score: float | None) -> Reference:
    """Return a reference that shares can be taken of: the tests are about scores up to 1."""
    if score is None or not quality.NOTHING < score <= 1:
        why = f"{subject} is {score}, and shares are taken of scores above 0 and up to 1 only"
        return Reference(whose, unknown=why)
    return Reference(whose, score)


def compared(seen: ObservedMetrics, policy: Policy) -> ObservedMetrics:
    """Return what was measured with the constants of the policy in the place of the teacher.

    Without its constant a metric keeps its queries for later: it was measured, so nothing is out
    of order, but there is nothing to decide.
    """
    known = {
        metric.name: metric.rule.reference
        for metric in policy.metrics
        if isinstance(metric.rule, quality.Rule) and metric.rule.reference is not None
    }
    if not known:
        return seen
    return replace(seen, scores=tuple(_against(entry, known) for entry in seen.scores))


def _against(entry: PairedScores, known: Mapping[str, Reference]) -> PairedScores:
    constant = known.get(entry.metric)
    if constant is None:
        return entry
    if constant.score is None:
        return replace(entry, scores=(), numbers=(), total=0)
    pairs = quality.against(constant, (student for student, _ in entry.scores))
    return replace(entry, scores=pairs)
