"""Both arms, asked the same at once: two answers, or every error that came instead."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from distill_server.prober.comparing import Ranker


@dataclass(frozen=True, slots=True)
class Both:
    """The two arms, ready to be asked."""

    teacher: Ranker
    student: Ranker

    async def ask[T](self, how: Callable[[Ranker], Awaitable[T]]) -> tuple[T, T]:
        """Return what teacher and student answer; an ExceptionGroup where one of them does not.

        The other one is waited for: its request must not go on while the next is sent already.
        """
        found = await asyncio.gather(how(self.teacher), how(self.student), return_exceptions=True)
        failed = [one for one in found if isinstance(one, BaseException)]
        if failed:
            raise BaseExceptionGroup("no pair", failed)
        teacher, student = (one for one in found if not isinstance(one, BaseException))
        return teacher, student


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors themselves, out of groups within groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
