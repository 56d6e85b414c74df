"""Users' queries sent to both arms: how far the student ranks as the teacher does."""

import asyncio
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_server.prober import scoring
from distill_server.prober.arms import ArmFailed, Why
from distill_server.prober.both import Both, leaves
from distill_server.prober.ledger import Ledger, Pair
from distill_server.prober.mirror import Asked, Inbox
from distill_server.prober.pace import Pace
from distill_server.prober.telemetry import Telemetry

RELEVANT: Final = 10
"""Documents that the teacher ranks first and that so answer a query, all alike."""
ATTEMPTS: Final = 3
"""Of a query before it is left out."""
AT_ONCE: Final = 32
"""Queries under way."""
ARMS: Final = 2


class NothingTold(Exception):
    """The teacher scores all documents alike, so it names no answer."""


def compared(
    teacher: NDArray[np.float32], student: NDArray[np.float32], wanted: Mapping[str, str]
) -> Mapping[str, Pair]:
    """Return metric to the scores of both, where the teacher's first documents are the answers.

    teacher, student: [documents]. At most half of them are answers, or nothing could be missed. A
    tie never lies across their end: which of two equal documents answers would be chance. So the
    teacher has the best score there is, which is 1 by nDCG and RR. Raises NothingTold.
    """
    order = np.argsort(-teacher, kind="stable")
    ranked = teacher[order]
    answers = min(RELEVANT, len(ranked) // 2)
    if ranked[answers - 1] == ranked[answers]:
        answers = int((ranked > ranked[answers]).sum()) or int((ranked == ranked[0]).sum())
    if answers == len(ranked):
        raise NothingTold
    own, best = (scoring.measured(one[order], answers, wanted) for one in (student, teacher))
    return {metric: (own[metric], best[metric]) for metric in wanted}


class Agreement:
    """The work on mirrored queries, as long as both models stay."""

    def __init__(
        self, ready: Both, ledger: Ledger, inbox: Inbox, telemetry: Telemetry, pace: Pace
    ) -> None:
        self._ready, self._ledger, self._inbox = ready, ledger, inbox
        self._telemetry, self._pace = telemetry, pace
        self._free = asyncio.Semaphore(AT_ONCE)

    async def run(self, wanted: Mapping[str, str]) -> None:
        """Send queries as they come; ModelChanged in a group."""
        number = 0
        async with asyncio.TaskGroup() as group:
            while True:
                await self._free.acquire()
                asked = await self._inbox.next()
                number += 1
                group.create_task(self._one(number, asked, wanted))
                await self._pace.turn()

    async def _one(self, number: int, asked: Asked, wanted: Mapping[str, str]) -> None:
        try:
            pairs = await self._tried(asked, wanted)
        finally:
            self._free.release()
        self._ledger.settle(number, pairs)
        if pairs is None:
            self._telemetry.given_up()
        else:
            self._telemetry.scored(pairs, repeated=False)

    async def _tried(self, asked: Asked, wanted: Mapping[str, str]) -> Mapping[str, Pair] | None:
        """Return the pairs; None where there are none after some tries, or none can be."""
        for _ in range(ATTEMPTS):
            hope = False
            try:
                teacher, student = await self._ready.ask(lambda arm: arm.rank(asked))
            except* ArmFailed as failed:
                hope = self._lost(failed)
            else:
                self._pace.worked()
                return _told(teacher, student, wanted)
            if not hope:
                return None
            await asyncio.sleep(self._pace.pause)
        return None

    def _lost(self, failed: BaseExceptionGroup[ArmFailed]) -> bool:
        """Take note of arms that gave no answer; False: asking again cannot help."""
        errors = [error for error in leaves(failed) if isinstance(error, ArmFailed)]
        refused = [error for error in errors if error.why is Why.REFUSED]
        for error in errors:
            self._telemetry.failed(error.arm, error.why)
            if len(refused) < ARMS:
                self._pace.failed(error.sentence)
        # Users ask what a model refuses, too long a text for example: it will refuse it again.
        # Where both do, the query is at fault and the arms are well.
        return not refused


def _told(
    teacher: NDArray[np.float32], student: NDArray[np.float32], wanted: Mapping[str, str]
) -> Mapping[str, Pair] | None:
    try:
        return compared(teacher, student, wanted)
    except NothingTold:
        return None
