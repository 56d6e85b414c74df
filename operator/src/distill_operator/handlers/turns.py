"""Which reconciler an object's pass belongs to."""

from datetime import timedelta
from typing import Protocol

from distill_operator.handlers.rollouts import RolloutReconciler


class Turn(Protocol):
    """Runs passes over objects by their uid."""

    async def turn(self, uid: str) -> timedelta | None:
        """Run one pass; return when to look again, None to wait for a change."""


class Turns:
    """Gives rollouts to their reconciler, and everything else to that of jobs."""

    def __init__(self, jobs: Turn, rollouts: RolloutReconciler) -> None:
        self._jobs = jobs
        self._rollouts = rollouts

    async def turn(self, uid: str) -> timedelta | None:
        """Run one pass; return when to look again, None to wait for a change."""
        return await (self._rollouts if self._rollouts.knows(uid) else self._jobs).turn(uid)
