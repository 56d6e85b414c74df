"""Sentences and columns about a rollout: what was decided, why, and what is next."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from distill_operator.plan import text
from distill_operator.plan.rollout import course, signals
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.phases import Phase


def decision(decided: Outcome) -> str:
    """Return where the rollout stands, why, and what it waits for, as one paragraph."""
    said = _BY_PHASE[decided.state.memory.phase](decided)
    return text.cut(said)


def _since(decided: Outcome) -> str:
    return text.clause(decided.state.memory.transition.why) or "Nothing has happened yet"


def _pending(decided: Outcome) -> str:
    here = decided.here
    wishes = (
        "spec.paused is true" if here.policy.commands.paused else None,
        here.unroutable,
        here.artifact.problem,
        (here.route.missing or here.route.sticky) if not here.policy.owns_route else None,
    )
    why = next((said for said in wishes if said), "the artifact is looked up")
    return f"Waits: {text.clause(why)}."


def _preparing(decided: Outcome) -> str:
    why = signals.obstacle(decided.here) or "both arms are ready; they have to stay so"
    return f"{_since(decided)}. Both arms are prepared: {text.clause(why)}."


def _progressing(decided: Outcome) -> str:
    memory, policy = decided.state.memory, decided.here.policy
    step = f"Step {memory.step + 1} of {len(policy.steps)} ({policy.steps[memory.step].weight}%)"
    if memory.transition != decided.here.memory.transition:
        return f"{step} begins: {_since(decided)}."
    needs = signals.lacks(decided.here) or "nothing more"
    return f"{step}: {text.clause(needs)}."


def _paused(decided: Outcome) -> str:
    held = next(iter(signals.holders(decided.here)), None)
    return (
        f"Paused at step {decided.state.memory.step + 1}: {text.clause(held or _since(decided))}."
    )


def _promoting(decided: Outcome) -> str:
    return f"{_since(decided)}. The final weights are being verified."


def _promoted(decided: Outcome) -> str:
    clocks, policy = decided.state.memory.clocks, decided.here.policy
    left = max(0.0, policy.retention.total_seconds() - clocks.retained)
    kept = text.duration(timedelta(seconds=left))
    floor = f"{policy.floor / 10:g}%"
    return f"The student is promoted; the teacher is kept warm at {floor} for another {kept}."


def _completed(decided: Outcome) -> str:
    return f"The student serves alone. {_since(decided)}."


def _rolling_back(decided: Outcome) -> str:
    stuck = signals.obstacle(decided.here)
    waits = f" Waits: {text.clause(stuck)}." if stuck and decided.here.phase in _BACK else ""
    return f"Rolling back: {_since(decided)}.{waits}"


def _rolled_back(decided: Outcome) -> str:
    why = text.clause(cause(decided.state.memory))
    return f"Rolled back: {why}. Change the student, or set spec.retry to a new value."


def cause(memory: Memory) -> str:
    """Return why the rollout was rolled back last, whatever was said since."""
    for entry in reversed(memory.history):
        if entry.after is Phase.ROLLING_BACK or entry.before is Phase.PENDING:
            return entry.why
    return memory.transition.why


def _failed(decided: Outcome) -> str:
    return f"{_since(decided)}."


def _deleting(decided: Outcome) -> str:
    left = f"{decided.here.target / 10:g}%" if decided.here.phase is Phase.DELETING else "its share"
    return f"The rollout is deleted: the student is left with {left} of the traffic."


_BACK: Final = frozenset({Phase.ROLLING_BACK})
_BY_PHASE: Final[Mapping[Phase, Callable[[Outcome], str]]] = {
    Phase.PENDING: _pending,
    Phase.PREPARING: _preparing,
    Phase.PROGRESSING: _progressing,
    Phase.PAUSED: _paused,
    Phase.PROMOTING: _promoting,
    Phase.PROMOTED: _promoted,
    Phase.COMPLETED: _completed,
    Phase.ROLLING_BACK: _rolling_back,
    Phase.ROLLED_BACK: _rolled_back,
    Phase.FAILED: _failed,
    Phase.DELETING: _deleting,
}

if _BY_PHASE.keys() != set(Phase):
    raise AssertionError("every phase must have its words")


def step(memory: Memory, steps: int) -> str:
    """Return the printer column: `2/5`."""
    return f"{min(memory.step + 1, steps)}/{steps}"


def measured(memory: Memory) -> str | None:
    """Return the student's measured share of the requests, `4.9%`; None before any are seen."""
    total = memory.split.teacher + memory.split.student
    return f"{memory.split.student / total:.1%}" if total else None


def eta(decided: Outcome) -> str | None:
    """Return the time to the next decision, `47m10s`: the longest of soak, requests and test.

    None: nothing is decided by time, or no request has come from which it could be told.
    """
    memory, here = decided.state.memory, decided.here
    if memory.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return None
    now = here.policy.steps[min(memory.step, len(here.policy.steps) - 1)]
    soak = max(0.0, now.soak.total_seconds() - memory.clocks.soak)
    decisive = memory.step >= len(here.policy.steps) - signals.DECISIVE_STEPS
    test = (here.judgement.eta_seconds or 0.0) if decisive else 0.0
    requests = _until_requests(memory, now.requests)
    if requests is None:
        return None
    return text.duration(timedelta(seconds=max(soak, requests, test)))


def _until_requests(memory: Memory, wanted: int) -> float | None:
    """Return the seconds until the step has its requests, at the rate at which they come."""
    missing, rate = wanted - memory.step_requests, course.per_second(memory)
    if missing <= 0:
        return 0.0
    return missing / rate if rate else None
