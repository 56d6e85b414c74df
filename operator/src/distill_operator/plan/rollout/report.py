"""The status of a rollout, put together from what a pass decided."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from distill_api.names import RolloutVerdict
from distill_api.rollout_status import (
    Arms,
    ArmStatus,
    Counted,
    Decision,
    MetricStatus,
    ResolvedArtifact,
    Retention,
    RolloutColumns,
    RolloutCondition,
    RolloutStatus,
    SequentialTest,
    StepStatus,
    Transition,
    Weight,
)

from distill_operator.plan import text
from distill_operator.plan.rollout import judgement, memory, phases, record, signals, words
from distill_operator.plan.rollout.conditions import Claim
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.model import Arm, ObservedArtifact
from distill_operator.plan.rollout.phases import MEASURED, RESTING, Phase
from distill_operator.plan.rollout.policy import Metric
from distill_operator.plan.rollout.readiness import ArmSight
from distill_operator.plan.rollout.turn import Turn
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.statistics import verdict as verdicts
from distill_operator.statistics import words as findings
from distill_operator.statistics.verdict import Finding


def of(
    before: RolloutStatus, taken: Turn, wanted: Wanted, artifact: ObservedArtifact, *, now: datetime
) -> RolloutStatus:
    """Return the status after a pass that is worth writing."""
    decided, kept = taken.decided, taken.decided.state.memory
    return RolloutStatus(
        observed_generation=kept.tokens.generation,
        phase=kept.phase,
        message=words.decision(decided),
        columns=_columns(decided),
        conditions=conditions(before.conditions, taken.claims, kept.tokens.generation, now=now),
        transition=_transition(kept.transition),
        step=_step(decided),
        weight=_weight(decided),
        verdict=RolloutVerdict(decided.here.judgement.verdict) if _measured(decided) else None,
        metrics=_metrics(before, decided),
        arms=_arms(decided, wanted),
        artifact=_artifact(artifact) or before.artifact,
        revision=kept.revision,
        epoch=kept.epoch,
        retention=_retention(decided, now=now),
        history=[_decision(entry) for entry in kept.history],
        start_time=before.start_time or (now if kept.phase in MEASURED else None),
        completion_time=(before.completion_time or now) if kept.phase in RESTING else None,
        record=record.dump(decided.state),
    )


def conditions(
    before: Sequence[RolloutCondition], claims: Sequence[Claim], generation: int, *, now: datetime
) -> list[RolloutCondition]:
    """Return the conditions for status; the time moves only where the value does."""
    old = {condition.type: condition for condition in before}
    found = []
    for claim in claims:
        was = old.get(claim.kind)
        stays = was is not None and was.status == claim.value
        found.append(
            RolloutCondition(
                type=claim.kind,
                status=claim.value,
                observed_generation=generation,
                last_transition_time=was.last_transition_time if stays and was else now,
                reason=claim.reason,
                message=claim.message,
            )
        )
    return found


def _measured(decided: Outcome) -> bool:
    return decided.state.memory.phase in MEASURED


def _columns(decided: Outcome) -> RolloutColumns:
    kept, here = decided.state.memory, decided.here
    return RolloutColumns(
        step=words.step(kept, len(here.policy.steps)),
        weight=f"{kept.weights.desired / 10:g}%",
        share=words.measured(kept),
        verdict=str(here.judgement.verdict) if _measured(decided) else None,
        decision=words.eta(decided),
    )


def _transition(last: memory.Transition) -> Transition | None:
    if last.at is None:
        return None
    return Transition(
        id=last.id,
        from_=last.before,
        to=last.after,
        at=last.at,
        reason=phases.reason(last.signal),
        message=last.why,
    )


def _decision(entry: memory.Transition) -> Decision:
    assert entry.at is not None
    return Decision(
        id=entry.id,
        at=entry.at,
        from_=entry.before,
        to=entry.after,
        step=entry.step + 1,
        weight=entry.weight,
        reason=phases.reason(entry.signal),
        # The whole of it was told as an event; twenty of these have to fit into status.
        message=text.cut(entry.why, 500),
    )


def _step(decided: Outcome) -> StepStatus:
    kept, steps = decided.state.memory, decided.here.policy.steps
    index = min(kept.step, len(steps) - 1)
    now = steps[index]
    moving = kept.phase in (Phase.PROGRESSING, Phase.PAUSED)
    return StepStatus(
        index=index + 1,
        of=len(steps),
        weight=now.weight,
        soak_seconds=int(kept.clocks.soak),
        min_soak_seconds=int(now.soak.total_seconds()),
        requests=kept.step_requests,
        min_requests=now.requests,
        lacks=_cut(signals.lacks(decided.here)) if moving else None,
    )


def _weight(decided: Outcome) -> Weight:
    kept = decided.state.memory
    total = kept.split.teacher + kept.split.student
    return Weight(
        desired=kept.weights.desired,
        observed=decided.here.route.share,
        # What was seen is about the weight that was decided before this pass.
        verified=decided.here.verified
        and kept.weights.desired == decided.here.memory.weights.desired,
        measured_share=text.number(kept.split.student / total) if total else None,
        student_requests=kept.split.student if total else None,
        teacher_requests=kept.split.teacher if total else None,
    )


def _metrics(before: RolloutStatus, decided: Outcome) -> list[MetricStatus]:
    """Return what is known of each metric; what ended a rollout stays to be read."""
    if decided.here.phase not in MEASURED:
        return list(before.metrics)
    return [_metric(metric, finding) for metric, finding in decided.found]


def _metric(metric: Metric, found: Finding) -> MetricStatus:
    told = found.forecast
    return MetricStatus(
        name=metric.name,
        verdict=RolloutVerdict(found.verdict),
        message=text.cut(findings.explain(found)),
        critical=found.critical,
        warning=judgement.warns(metric, found) or None,
        exhausted=found.exhausted or None,
        fine=text.number(found.fine),
        limit=text.number(found.limit),
        reference=_number(found.reference.score) if found.reference else None,
        student=_counted(found.student),
        teacher=_counted(found.teacher) if found.teacher is not None else None,
        test=_test(found),
        predicted_requests=told.requests if told else None,
        predicted_seconds=_seconds(told.seconds) if told else None,
    )


def _seconds(value: float | None) -> int | None:
    return None if value is None else min(int(value), 2_147_483_647)


def _counted(found: verdicts.Counted) -> Counted:
    ends = found.interval
    return Counted(
        count=found.count,
        events=found.failures,
        estimate=None if found.estimate is None else text.number(found.estimate),
        lower=None if ends is None else text.number(ends.low),
        upper=None if ends is None else text.number(ends.high),
        score=_number(found.score),
    )


def _test(found: Finding) -> SequentialTest | None:
    evidence = found.evidence
    if evidence is None:
        return None
    return SequentialTest(
        llr=text.number(evidence.llr),
        upper=text.number(evidence.upper),
        lower=_number(evidence.lower),
        proof=_number(evidence.proof),
        proof_bound=_number(evidence.proof_bound),
        design_effect=text.number(found.effect),
    )


def _number(value: float | None) -> str | None:
    return None if value is None else text.number(value)


def _arms(decided: Outcome, wanted: Wanted) -> Arms:
    return Arms(
        teacher=_arm(decided.here.teacher, Arm.TEACHER, wanted),
        student=_arm(decided.here.student, Arm.STUDENT, wanted),
    )


def _arm(sight: ArmSight, arm: Arm, wanted: Wanted) -> ArmStatus:
    order = wanted.order(arm)
    return ArmStatus(
        ready=sight.ready,
        wanted=sight.wanted,
        endpoint=wanted.backends.of(arm),
        revision=order.revision if order else None,
        model=f"oci://{order.model.reference}" if order and order.model.reference else None,
        message=_cut(sight.trouble),
    )


def _artifact(found: ObservedArtifact) -> ResolvedArtifact | None:
    if found.uri is None or found.digest is None:
        return None
    return ResolvedArtifact(uri=found.uri, digest=found.digest)


def _retention(decided: Outcome, *, now: datetime) -> Retention | None:
    kept, policy = decided.state.memory, decided.here.policy
    if kept.phase is not Phase.PROMOTED:
        return None
    left = max(0.0, policy.retention.total_seconds() - kept.clocks.retained)
    return Retention(
        seconds=int(kept.clocks.retained),
        wanted_seconds=int(policy.retention.total_seconds()),
        until=now + timedelta(seconds=left),
    )


def _cut(said: str | None) -> str | None:
    return None if said is None else text.cut(said)
