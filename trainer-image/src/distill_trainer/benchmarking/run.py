"""Benchmark: both servers in turns, each asked the same at the same moments."""

import asyncio
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from distill_api.names import Reason
from distill_api.outcome import Benchmark
from distill_common import graphs

from distill_trainer.benchmarking import arrivals, load, server
from distill_trainer.benchmarking.load import Answer, Request
from distill_trainer.benchmarking.server import NotServed, Plan
from distill_trainer.components import evaluated
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.served import Load, Served
from distill_trainer.report.material import Folders
from distill_trainer.teachers import opening

ROUNDS: Final = 2
"""Each server is started so often; who goes first changes, so that neither has the warmer cache."""
WARM_UP: Final = 20
"""Requests after each start that are not counted."""

log = logging.getLogger(__name__)

type Tell = Callable[[int], None]
"""Told how many more requests were sent; may raise to stop."""


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one start of a server."""

    answers: list[Answer]
    span: float
    memory: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is served, and what it is asked."""

    model: Path
    requests: Sequence[Request]


def run(
    context: Context, folders: Folders, requests: Callable[[Benchmark], Pair[list[Request]]]
) -> Served | None:
    """Put the spec's load on student and teacher; None where it asks for none.

    requests: what each is asked, again from the beginning where that is too few. Raises BadInput
    where the student cannot be served. A teacher that cannot be is left out with a remark, as is
    one behind an endpoint: each request there costs money, and its latency is another machine's.
    """
    asked = context.task.spec.evaluation.benchmark
    if asked is None:
        return None
    asking = requests(asked)
    gc.collect()
    # What torch keeps of an accelerator for later is the servers' now; nothing without one.
    torch.cuda.empty_cache()
    student = Subject(published(folders, context.scratch / "benchmark"), asking.student)
    bench = _Bench(context, asked)
    if context.task.spec.teacher.endpoint is not None:
        return Served(asked, bench.alone(student), remark="The teacher is behind an endpoint.")
    teacher = Subject(opening.weights(context), asking.teacher)
    try:
        return Served(asked, *bench.both(student, teacher))
    except NotServed as error:
        remark = f"The teacher cannot be served: {error}"[:1000]
        return Served(asked, bench.alone(student), remark=remark)


def published(folders: Folders, scratch: Path) -> Path:
    """Return a folder of the student as it is published, without copying its weights."""
    place = scratch / "student"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folders.trained.absolute() / STUDENT, place, copy_function=os.symlink)
    if folders.quantized is not None:
        smaller = folders.quantized.absolute()
        shutil.copytree(smaller / graphs.FOLDER, place / graphs.FOLDER, copy_function=os.symlink)
        (place / graphs.NOTE).symlink_to(smaller / graphs.NOTE)
    return place


class _Bench:
    """Servers one after the other, and how far the whole is."""

    def __init__(self, context: Context, asked: Benchmark) -> None:
        self._context, self._asked = context, asked
        self._sent = 0

    def alone(self, student: Subject) -> Load:
        self._sent = 0
        return self._load([self._student(student, turn, 1) for turn in range(ROUNDS)])

    def both(self, student: Subject, teacher: Subject) -> tuple[Load, Load]:
        """Raise NotServed for the teacher, BadInput for the student."""
        found: tuple[list[Round], list[Round]] = ([], [])
        for turn in range(ROUNDS):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                if which == 0:
                    found[which].append(self._student(student, turn, 2))
                else:
                    found[which].append(self._round(teacher, turn, 2))
        return self._load(found[0]), self._load(found[1])

    def _student(self, student: Subject, turn: int, models: int) -> Round:
        try:
            return self._round(student, turn, models)
        except NotServed as error:
            raise BadInput(
                Reason.BAD_MODEL,
                f"The trained student cannot be served, so nothing is published: {error}. Look at"
                " the student's architecture, or remove evaluation.benchmark",
            ) from error

    def _round(self, subject: Subject, turn: int, models: int) -> Round:
        asked, context = self._asked, self._context
        count = len(range(turn, asked.requests, ROUNDS))
        due = arrivals.poisson(
            asked.requests_per_second, count, seed=context.task.spec.training.seed + turn
        )
        sending = list(islice(cycle(subject.requests), count))
        before, total = self._sent, models * asked.requests

        def tell(sent: int) -> None:
            self._sent = before + sent
            done = evaluated.UNTIL_LOAD + (1 - evaluated.UNTIL_LOAD) * self._sent / total
            context.progress.tell(done, 1, {"requests": self._sent}, "benchmark")
            context.check_stop()

        limits = load.Limits(asked.concurrency, asked.timeout_seconds)
        with server.running(self._plan(subject), context.check_stop) as serving:
            asyncio.run(_warm(serving.url, subject.requests, limits))
            answers = asyncio.run(load.offer(serving.url, sending, due, limits, tell))
            ends = [at + one.seconds for at, one in zip(due.tolist(), answers, strict=True)]
            found = Round(answers, max(ends) - float(due[0]), serving.peak_memory())
        failed, late = sum(not one.good for one in answers), max(one.late for one in answers)
        told = "%s: %d requests in %.1f s, %d failed; the load itself was late by %.0f ms at most"
        log.info(told, subject.model, count, found.span, failed, 1000 * late)
        return found

    def _plan(self, subject: Subject) -> Plan:
        task, scratch = self._context.task, self._context.scratch / "benchmark"
        return Plan(subject.model, self._asked.runtime, task.threads, scratch)

    def _load(self, rounds: Sequence[Round]) -> Load:
        answers = [one for found in rounds for one in found.answers]
        return Load(
            seconds=tuple(_counted(answers, self._asked.timeout_seconds)),
            failures=sum(not one.good for one in answers),
            span=sum(found.span for found in rounds),
            memory=max(found.memory for found in rounds),
            late=float(np.percentile([one.late for one in answers], 99)),
        )


def _counted(answers: Sequence[Answer], timeout: float) -> Iterator[float]:
    """Yield latencies; a request that failed is no quick one, however soon it was refused."""
    for one in answers:
        yield one.seconds if one.good else max(one.seconds, timeout)


async def _warm(url: str, requests: Sequence[Request], limits: load.Limits) -> None:
    """Ask one by one, for what a server does only once."""
    asked = list(islice(cycle(requests), WARM_UP))
    patient = load.Limits(concurrency=1, timeout=WARM_UP * limits.timeout)
    await load.offer(url, asked, np.zeros(WARM_UP), patient, lambda _: None)
