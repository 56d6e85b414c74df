"""The student's share that is written: what is asked for, as far as both sides can bear it."""

from distill_operator.plan.rollout import readiness
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.situation import Situation
from distill_operator.plan.rollout.targets import target


def desired(memory: Memory, here: Situation) -> int | None:
    """Return the weight to write, per mille; None: the route is left as it is."""
    wanted, current = target(memory, here.policy), here.route.share
    if wanted is None:
        return None
    if current is None:
        return 0 if wanted == 0 else memory.weights.desired
    borne = readiness.share(wanted, current, student=here.student, teacher=here.teacher)
    # More traffic only for a student that was ready long enough, without a break.
    unsteady = memory.clocks.ready < here.policy.min_ready.total_seconds()
    return current if borne > current and unsteady else borne


def safety(wanted: int, here: Situation) -> bool:
    """Tell whether a weight is written even over somebody else's, as requests would fail."""
    dead = here.student.ready == 0 and here.teacher.ready > 0
    return dead and wanted == 0
