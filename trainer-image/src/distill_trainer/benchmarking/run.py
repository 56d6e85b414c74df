"""Benchmark: both servers in turns, each asked the same at the same moments."""

import asyncio
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from distill_api.names import Reason
from distill_api.outcome import Benchmark
from distill_common import graphs

from distill_trainer.benchmarking import arrivals, for_vllm, load, server, sidecar
from distill_trainer.benchmarking.load import Answer, Request
from distill_trainer.benchmarking.serving import NotServed, Serving
from distill_trainer.components import evaluated
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.served import Load, Served, Tokens
from distill_trainer.report.material import Folders
from distill_trainer.teachers import opening

ROUNDS: Final = 2
"""Each server is started so often; who goes first changes, so that neither has the warmer cache."""
WARM_UP: Final = 20
"""Requests after each start that are not counted."""
WARM_UP_ANSWERS: Final = 3
"""The same of answers that are written, which take as long as they are long."""

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
    arguments: Sequence[str] = ()
    """More for its server."""


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
    bench = _Bench(context, asked)
    student = _student(context, folders, asking.student)
    if context.task.spec.teacher.endpoint is not None:
        remark = "The teacher is behind an endpoint."
        return Served(asked, bench.alone(student), remark=remark, cpu_seconds=bench.elsewhere)
    try:
        both = bench.both(student, _teacher(context, asking.teacher))
        return Served(asked, *both, cpu_seconds=bench.elsewhere)
    except NotServed as error:
        remark = f"The teacher cannot be served: {error}"[:1000]
        return Served(asked, bench.alone(student), remark=remark, cpu_seconds=bench.elsewhere)


def _student(context: Context, folders: Folders, requests: Sequence[Request]) -> Subject:
    if _writes(context):
        return Subject(evaluated.student_folder(folders), requests)
    return Subject(published(folders, context.scratch / "benchmark"), requests)


def _teacher(context: Context, requests: Sequence[Request]) -> Subject:
    folder = opening.weights(context)
    if not _writes(context):
        return Subject(folder, requests)
    seen = for_vllm.seen(context, folder)
    return Subject(seen, requests, for_vllm.chat_template(context, seen))


def _writes(context: Context) -> bool:
    asked = context.task.spec.evaluation.benchmark
    return asked is not None and asked.vllm is not None


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
        self.elsewhere = 0.0
        """Processor seconds of other containers so far."""

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
        with self._serving(subject) as serving:
            asyncio.run(_warm(serving.url, subject.requests, limits))
            answers = asyncio.run(load.offer(serving.url, sending, due, limits, tell))
            ends = [at + one.seconds for at, one in zip(due.tolist(), answers, strict=True)]
            found = Round(answers, max(ends) - float(due[0]), serving.peak_memory())
            self.elsewhere += serving.cpu_seconds()
        failed, late = _failures(answers), max(one.late for one in answers)
        told = "%s: %d requests in %.1f s, %d failed%s; the load itself was late by %.0f ms at most"
        why = f" ({failed[0]})" if failed else ""
        log.info(told, subject.model, count, found.span, len(failed), why, 1000 * late)
        return found

    def _serving(self, subject: Subject) -> AbstractContextManager[Serving]:
        """Return the server of a model: a process of this container, or vLLM in the other one."""
        context, asked = self._context, self._asked
        if asked.vllm is not None:
            wanted = sidecar.Plan(subject.model, asked.vllm, subject.arguments)
            places = {"launcher": sidecar.LAUNCHER, "url": sidecar.URL}
            return sidecar.running(wanted, context.check_stop, **places)
        scratch = context.scratch / "benchmark"
        plan = server.Plan(subject.model, asked.runtime, context.task.threads, scratch)
        return server.running(plan, context.check_stop)

    def _load(self, rounds: Sequence[Round]) -> Load:
        answers = [one for found in rounds for one in found.answers]
        timeout, failed = self._asked.timeout_seconds, _failures(answers)
        return Load(
            seconds=tuple(_counted(((one.seconds, one) for one in answers), timeout)),
            failures=len(failed),
            span=sum(found.span for found in rounds),
            memory=max(found.memory for found in rounds),
            late=float(np.percentile([one.late for one in answers], 99)),
            why=failed[0] if failed else "",
            tokens=_tokens(answers, timeout) if self._asked.vllm is not None else None,
        )


def _failures(answers: Sequence[Answer]) -> list[str]:
    return [one.why for one in answers if not one.good]


def _counted(times: Iterable[tuple[float, Answer]], timeout: float) -> Iterator[float]:
    """Yield times; a request that failed is no quick one, however soon it was refused."""
    for seconds, one in times:
        yield seconds if one.good else max(one.seconds, timeout)


def _tokens(answers: Sequence[Answer], timeout: float) -> Tokens:
    """Gather the times of tokens: an answer of a single one has none between two."""
    first = ((one.written.first if one.written else timeout, one) for one in answers)
    each = ((one.written.each if one.written else timeout, one) for one in answers)
    return Tokens(
        first=tuple(_counted(first, timeout)),
        each=tuple(_counted(((time, one) for time, one in each if time is not None), timeout)),
        count=sum(one.written.tokens for one in answers if one.written),
    )


async def _warm(url: str, requests: Sequence[Request], limits: load.Limits) -> None:
    """Ask one by one, for what a server does only once.

    The last ones first, as the load begins with the others: what was asked may be answered sooner.
    """
    count = WARM_UP_ANSWERS if requests[-1].streams else WARM_UP
    asked = list(islice(cycle(reversed(requests)), count))
    patient = load.Limits(concurrency=1, timeout=WARM_UP * limits.timeout)
    await load.offer(url, asked, np.zeros(count), patient, lambda _: None)
