"""The prober's work: load, prepare both arms, send every query, and begin anew with a new model."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from distill_server.prober import comparing, scoring, sources
from distill_server.prober.arms import Arm, ArmFailed
from distill_server.prober.comparing import ModelChanged, Ranker
from distill_server.prober.ledger import Ledger, Pair, Run
from distill_server.prober.material import Material
from distill_server.prober.pace import Pace
from distill_server.prober.settings import Settings
from distill_server.prober.sources import NoQueries
from distill_server.prober.telemetry import Telemetry

ATTEMPTS: Final = 3
"""Of a query before it is left out."""
AT_ONCE: Final = 32
"""Queries under way."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Both:
    """The two arms, ready to be asked."""

    teacher: Ranker
    student: Ranker


class Probe:
    """What is known so far, and the work that goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = {name: measure.value for name, measure in settings.measure.items()}
        self.telemetry = Telemetry(tuple(self._wanted))
        self._pace = Pace(60 / settings.queries_per_minute)
        self.material: Material | None = None
        self.ledger: Ledger | None = None
        self.doing = "the queries are being loaded"

    @property
    def failing(self) -> str | None:
        """Why nothing is measured at present."""
        return self._pace.failing

    async def run(self) -> None:
        """Work until cancelled."""
        # No proxy of the environment: the arms are Services of this cluster.
        client = httpx.AsyncClient(timeout=self._settings.timeout_seconds, trust_env=False)
        async with client:
            material = await self._load()
            while True:
                ready = await self._prepare(client, material)
                await self._until_changed(material, ready)

    async def _load(self) -> Material:
        """Load the queries, again and again: a volume or registry may be corrected."""
        while self.material is None:
            try:
                self.material = await asyncio.to_thread(sources.load, self._settings)
            except NoQueries as error:
                self._tell_failure(error.sentence)
                await asyncio.sleep(self._pace.pause)
        self._pace.worked()
        found = self.material
        log.info("%d queries, %d documents", len(found.queries), len(found.documents))
        return found

    async def _prepare(self, client: httpx.AsyncClient, material: Material) -> Both:
        """Prepare both arms, one after the other, until it works."""
        settings = self._settings
        while True:
            try:
                ready = [
                    await comparing.prepare(
                        Arm(client, name, url, settings.model),
                        material,
                        settings.component,
                        self._tell,
                    )
                    for name, url in (
                        ("teacher", settings.teacher_url),
                        ("student", settings.student_url),
                    )
                ]
            except (ArmFailed, ModelChanged) as error:
                if isinstance(error, ArmFailed):
                    self.telemetry.failed(error.arm, error.why)
                self._tell_failure(str(error))
                await asyncio.sleep(self._pace.pause)
            else:
                self._pace.worked()
                return Both(*ready)

    async def _until_changed(self, material: Material, ready: Both) -> None:
        """Send all queries over and over, until an arm's model changes."""
        run = Run(material.digest, ready.teacher.digest, ready.student.digest)
        self.ledger = Ledger(run, tuple(self._wanted), len(material.queries))
        self.telemetry.began(run, len(material.queries))
        log.info("run %s begins", run.name)
        try:
            while True:
                await _Pass(self, self.ledger, material, ready).run()
        except* ModelChanged as group:
            arms = {error.arm for error in _leaves(group) if isinstance(error, ModelChanged)}
            for arm in sorted(arms):
                self.telemetry.changed(arm)
                self._tell(f"the {arm} answers with another model")
        self.ledger = None

    def outcome(self, scores: Mapping[str, Pair], *, new: bool) -> None:
        """Take note of a pair."""
        self._pace.worked()
        self.telemetry.scored(scores, repeated=not new)

    def failure(self, error: ArmFailed) -> None:
        """Take note of an arm that gave no answer."""
        self.telemetry.failed(error.arm, error.why)
        self._pace.failed(str(error))

    async def due(self) -> None:
        """Wait until the next query is due."""
        await self._pace.turn()

    @property
    def wanted(self) -> Mapping[str, str]:
        """Return metric to measure."""
        return self._wanted

    def _tell(self, doing: str) -> None:
        self.doing = doing

    def _tell_failure(self, sentence: str) -> None:
        if sentence != self.doing:
            log.warning("%s", sentence)
        self.doing = sentence
        self._pace.failed(sentence)


class _Pass:
    """One pass over the queries, several under way at once."""

    def __init__(self, probe: Probe, ledger: Ledger, material: Material, ready: Both) -> None:
        self._probe, self._ledger, self._material, self._ready = probe, ledger, material, ready
        self._waiting = deque((number, 1) for number in range(1, len(material.queries) + 1))
        self._free = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Send every query, those that failed again; ModelChanged in a group."""
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            while self._waiting or under_way:
                if not self._waiting:
                    # One that fails comes back.
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(0)
                    continue
                await self._probe.due()
                await self._free.acquire()
                number, attempt = self._waiting.popleft()
                task = group.create_task(self._one(number, attempt))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _one(self, number: int, attempt: int) -> None:
        try:
            scores = await self._scores(number)
        except* ArmFailed as failed:
            self._lost(number, attempt, failed)
        else:
            new = self._ledger.settle(number, scores)
            self._probe.outcome(scores, new=new)
        finally:
            self._free.release()

    def _lost(self, number: int, attempt: int, failed: BaseExceptionGroup[ArmFailed]) -> None:
        for error in _leaves(failed):
            assert isinstance(error, ArmFailed)
            self._probe.failure(error)
        if attempt < ATTEMPTS:
            self._waiting.appendleft((number, attempt + 1))
        elif self._ledger.settle(number, None):
            self._probe.telemetry.given_up()

    async def _scores(self, number: int) -> Mapping[str, Pair]:
        """Ask both arms at once; an ExceptionGroup where one of them did not answer."""
        query = self._material.queries[number - 1]
        found = await asyncio.gather(
            self._ready.student.score(query),
            self._ready.teacher.score(query),
            return_exceptions=True,
        )
        failed = [one for one in found if isinstance(one, BaseException)]
        if failed:
            raise BaseExceptionGroup("no pair", failed)
        values = [
            scoring.measured(one, len(query.relevant), self._probe.wanted)
            for one in found
            if not isinstance(one, BaseException)
        ]
        student, teacher = values
        return {metric: (student[metric], teacher[metric]) for metric in self._probe.wanted}


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors themselves, out of groups within groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
