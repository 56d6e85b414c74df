"""Which signals hold in a situation, each with the sentence that says why."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Final

from distill_api.rollout_policies import Action

from distill_operator.plan import text
from distill_operator.plan.rollout.model import WHOLE, Arm
from distill_operator.plan.rollout.phases import Phase, Signal
from distill_operator.plan.rollout.readiness import ArmSight
from distill_operator.plan.rollout.situation import Situation
from distill_operator.statistics.verdict import Verdict

type Rule = Callable[[Situation], str | None]
"""Returns why a signal holds; None: it does not."""

DECISIVE_STEPS: Final = 2
"""Early steps see too few requests to prove anything: they only catch what is plainly bad. In the
last steps every critical metric has to be healthy."""


def of(here: Situation) -> Mapping[Signal, str]:
    """Return the signals that hold, with their reasons."""
    found = {signal: rule(here) for signal, rule in RULES.items()}
    return {signal: why for signal, why in found.items() if why is not None}


def _deleted(here: Situation) -> str | None:
    return "The rollout is deleted" if here.deleting else None


def _aborted(here: Situation) -> str | None:
    return "spec.abort is true" if here.policy.commands.abort else None


def _broken(here: Situation) -> str | None:
    if here.artifact.final and here.artifact.problem:
        return here.artifact.problem
    if here.rival:
        return f"The rule of the route belongs to rollout {here.rival}: name another rule"
    return None


def _changed(here: Situation) -> str | None:
    known = here.memory.revision is not None and here.revision is not None
    if not known or here.revision == here.memory.revision or here.policy.commands.abort:
        return None
    return "Student or teacher were changed: what was measured says nothing about them"


def _crashed(here: Situation) -> str | None:
    """Judge only a student that is down alone: with both down, something else has happened."""
    if here.student.ready > 0 or here.teacher.ready == 0:
        return None
    if here.student.looping:
        return f"The student crashes: {here.student.looping}"
    if here.memory.clocks.down < here.policy.crash_grace.total_seconds():
        return None
    why = f": {here.student.trouble}" if here.student.trouble else ""
    return f"The student had no ready endpoint for {_span(here.memory.clocks.down)}{why}"


def _regressed(here: Situation) -> str | None:
    return here.judgement.rollback


def _outage(here: Situation) -> str | None:
    seconds = here.memory.clocks.outage
    late = seconds >= here.policy.no_data_after.total_seconds()
    if here.policy.no_data is not Action.ROLLBACK or not late:
        return None
    return f"No numbers for {_span(seconds)}: {here.judgement.missing or 'none came'}"


def _overdue(here: Situation) -> str | None:
    clocks, policy = here.memory.clocks, here.policy
    if clocks.stalled >= policy.progress_deadline.total_seconds():
        return f"No progress for {_span(clocks.stalled)}: {obstacle(here) or 'it is not verified'}"
    undecided = here.judgement.verdict in (Verdict.UNDECIDED, Verdict.NO_DATA)
    late = here.phase in (Phase.PROGRESSING, Phase.PAUSED) and (
        clocks.soak >= policy.max_soak.total_seconds()
    )
    if policy.undecided is Action.ROLLBACK and undecided and late:
        return f"Undecided after {_span(clocks.soak)}: {here.judgement.sentence}"
    return None


def obstacle(here: Situation) -> str | None:
    """Return what keeps the weight from being verified, in a sentence; None where nothing does."""
    wishes = (
        # Whatever else is missing may be missing for it.
        refusal(here) if here.phase is Phase.PREPARING else None,
        here.route.missing or here.route.unready,
        (here.route.sticky or _unprepared(here)) if here.phase is Phase.PREPARING else None,
        here.tokens.different if here.phase is Phase.PREPARING else None,
        _unanswered("student", here.student) if here.target > 0 else None,
        _unanswered("teacher", here.teacher) if here.target < WHOLE else None,
        here.mismatch,
        _unwritten(here),
    )
    return next((said for said in wishes if said), None)


def refusal(here: Situation) -> str | None:
    """Return what the API server said about the first child that it refused."""
    if not here.refused.children:
        return None
    first, *more = here.refused.children
    others = f" (and {len(more)} more)" if more else ""
    return f"the API server refused {first.kind} {first.name}{others}: {first.message}"


def _unanswered(name: str, arm: ArmSight) -> str | None:
    if arm.ready > 0:
        return None
    return f"the {name} has no ready endpoint{_because(arm.trouble)}"


def _unwritten(here: Situation) -> str | None:
    if here.route.share == here.target:
        return None
    given, asked = (here.route.share or 0) / 10, here.target / 10
    why = _because(here.refused.route)
    return f"the route gives the student {given:g}% of {asked:g}%{why}"


def _unprepared(here: Situation) -> str | None:
    for name, arm in (("student", here.student), ("teacher", here.teacher)):
        if not arm.rolled_out:
            ready = f"{arm.ready} of {arm.wanted or 1} endpoints of the {name} are ready"
            return f"{ready}{_because(arm.trouble)}"
    return None


def _because(trouble: str | None) -> str:
    return f": {trouble}" if trouble else ""


def _returned(here: Situation) -> str | None:
    """Hold only what is verified: a gateway that has not taken the weight over still sends."""
    if here.unroutable:
        return None
    if Arm.STUDENT in here.route.reached or (here.route.missing is None and here.route.unready):
        return None
    return "The student has no traffic any more, verified"


def _renewed(here: Situation) -> str | None:
    return _returned(here) if _changed(here) else None


def _retried(here: Situation) -> str | None:
    commands, before = here.policy.commands, here.memory.tokens.retry
    if commands.abort or commands.retry is None or commands.retry == before:
        return None
    return f"spec.retry is {commands.retry}: a new try with fresh evidence"


def _repaired(here: Situation) -> str | None:
    return None if _broken(here) else "What could not be used was changed"


def _overridden(here: Situation) -> str | None:
    return _let_pass(here) if not here.last_step else None


def _passed(here: Situation) -> str | None:
    return _let_pass(here) if here.last_step else None


def _let_pass(here: Situation) -> str | None:
    if not here.approved or not (here.verified or here.conflict) or here.tokens.different:
        return None
    return f"spec.promote lets step {here.memory.step + 1} pass; {here.judgement.sentence}"


def _held(here: Situation) -> str | None:
    """Return the first wish to wait; approval outweighs those that a person was asked about.

    Tokens that differ are no question of evidence: whoever approves means the student that was
    trained and evaluated, and this is another one.
    """
    if here.policy.commands.paused:
        return "spec.paused is true"
    if here.conflict:
        return (
            f"Somebody else gave the student {(here.route.share or 0) / 10:g}% instead of"
            f" {here.memory.weights.desired / 10:g}%: put it back, or change the rollout"
        )
    if here.tokens.different:
        return here.tokens.different
    if here.approved:
        return None
    return here.judgement.pause or _gate(here)


def _gate(here: Situation) -> str | None:
    step = here.policy.steps[min(here.memory.step, len(here.policy.steps) - 1)]
    if not step.manual or _lacks(here) is not None:
        return None
    number = here.memory.step + 1
    return f"Step {number} ({step.weight}%) is done and asks for approval: spec.promote: {number}"


def _resumed(here: Situation) -> str | None:
    return None if _held(here) else "Nothing asks to wait any more"


def _accepted(here: Situation) -> str | None:
    if here.revision is None or _broken(here) or here.policy.commands.paused:
        return None
    missing = here.route.missing or here.route.sticky
    if here.unroutable or (missing and not here.policy.owns_route):
        return None
    return f"The student is {here.artifact.uri or 'behind its Service'}"


def _prepared(here: Situation) -> str | None:
    arms = here.student.rolled_out and here.teacher.rolled_out
    long = here.memory.clocks.ready >= here.policy.min_ready.total_seconds()
    wait = here.policy.commands.paused or here.route.sticky or here.tokens.different
    if wait or not (arms and long and here.verified):
        return None
    return "Both arms are ready, and the gateways carry the route"


def lacks(here: Situation) -> str | None:
    """Return what the step still needs, as a sentence; None: nothing."""
    if not here.verified:
        return obstacle(here) or "the weight is not verified yet"
    return None if here.approved else _lacks(here)


def _lacks(here: Situation) -> str | None:
    step = here.policy.steps[min(here.memory.step, len(here.policy.steps) - 1)]
    if not here.verified or not here.memory.clocks.verified:
        return "the weight is not verified yet"
    if here.memory.clocks.soak < step.soak.total_seconds():
        left = step.soak.total_seconds() - here.memory.clocks.soak
        return f"the step soaks for another {_span(left)}"
    if here.memory.step_requests < step.requests:
        return f"{here.memory.step_requests} of {step.requests} requests of the student were seen"
    if untold := _untold(here):
        return untold
    decisive = here.memory.step >= len(here.policy.steps) - DECISIVE_STEPS
    known = here.judgement.verdict
    # Early steps prove nothing, but time alone moves no traffic either.
    if known is Verdict.NO_DATA or (decisive and known is not Verdict.HEALTHY):
        return here.judgement.sentence
    return None


def _untold(here: Situation) -> str | None:
    """Return what is not known that a step needs; the last one needs the student's tokens too."""
    told = here.judgement
    unread = here.tokens.unanswered if here.last_step else None
    return here.route.sticky or told.missing or told.fault or unread


def _step_done(here: Situation) -> str | None:
    return None if here.last_step else _done(here)


def _last_step_done(here: Situation) -> str | None:
    return _done(here) if here.last_step else None


def _done(here: Situation) -> str | None:
    if lacks(here) is not None or _held(here) is not None:
        return None
    number = here.memory.step + 1
    if here.approved:
        return f"spec.promote lets step {number} pass; {here.judgement.sentence}"
    return f"Step {number} soaked for {_span(here.memory.clocks.soak)}; {here.judgement.sentence}"


def _settled(here: Situation) -> str | None:
    final = here.memory.weights.desired >= WHOLE - here.policy.floor
    return "The final weights are verified" if final and here.verified else None


def _retained(here: Situation) -> str | None:
    """Hold after a whole healthy look only: the time alone may have passed unwatched."""
    commands, clocks = here.policy.commands, here.memory.clocks
    enough = clocks.retained >= here.policy.retention.total_seconds()
    healthy = here.verified and here.judgement.fresh and here.judgement.missing is None
    if not (enough or commands.finalize) or not healthy or here.conflict:
        return None
    if commands.finalize and not enough:
        return f"spec.finalize ends the teacher's time after {_span(clocks.retained)}"
    return f"The teacher was kept for {_span(clocks.retained)}"


RULES: Final[Mapping[Signal, Rule]] = {
    Signal.DELETED: _deleted,
    Signal.ABORTED: _aborted,
    Signal.BROKEN: _broken,
    Signal.CHANGED: _changed,
    Signal.CRASHED: _crashed,
    Signal.REGRESSED: _regressed,
    Signal.OUTAGE: _outage,
    Signal.OVERDUE: _overdue,
    Signal.RENEWED: _renewed,
    Signal.RETURNED: _returned,
    Signal.RETRIED: _retried,
    Signal.REPAIRED: _repaired,
    Signal.OVERRIDDEN: _overridden,
    Signal.PASSED: _passed,
    Signal.HELD: _held,
    Signal.RESUMED: _resumed,
    Signal.ACCEPTED: _accepted,
    Signal.PREPARED: _prepared,
    Signal.STEP_DONE: _step_done,
    Signal.LAST_STEP_DONE: _last_step_done,
    Signal.SETTLED: _settled,
    Signal.RETAINED: _retained,
}

if RULES.keys() != set(Signal):
    raise AssertionError("every signal must have its rule")


def _span(seconds: float) -> str:
    return text.duration(timedelta(seconds=seconds))


def holders(here: Situation) -> Iterator[str]:
    """Yield the sentences about what keeps the rollout where it is."""
    for why in (_held(here), obstacle(here), here.refused.route):
        if why:
            yield why
