"""The prober's work: load, prepare both arms, send every query, and begin anew with a new model."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import httpx
from distill_api.probing import Protocol

from distill_server.prober import comparing, sources
from distill_server.prober.agreement import AT_ONCE, ATTEMPTS, Agreement
from distill_server.prober.arms import Arm, ArmFailed
from distill_server.prober.both import Both, leaves
from distill_server.prober.comparing import ModelChanged
from distill_server.prober.ledger import Ledger, Pair, Run
from distill_server.prober.mirror import Inbox
from distill_server.prober.open_inference import OpenInferenceArm
from distill_server.prober.pace import Pace
from distill_server.prober.prompts import Sent
from distill_server.prober.settings import Settings
from distill_server.prober.sources import NoQueries
from distill_server.prober.telemetry import Telemetry

ARMS: Final[Mapping[Protocol, type[Arm]]] = {
    Protocol.OPEN_AI: Arm,
    Protocol.OPEN_INFERENCE: OpenInferenceArm,
}

log = logging.getLogger(__name__)


class Probe:
    """What is known so far, and the work that goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = {name: measure.value for name, measure in settings.measure.items()}
        mirrored = settings.mirrored_measure
        self._agreed = {name: measure.value for name, measure in mirrored.items()}
        self.telemetry = Telemetry((*self._wanted, *self._agreed))
        self.inbox: Inbox | None = None
        if mirrored:
            self.inbox = Inbox(settings.component, settings.max_queries, self.telemetry.copied)
        self._copied_pace = Pace(60 / settings.queries_per_minute)
        self._pace = Pace(60 / settings.queries_per_minute)
        self.material: Sent | None = None
        self.ledger: Ledger | None = None
        self.mirrored: Ledger | None = None
        """Pairs of users' queries."""
        self.doing = "the queries are being loaded"

    @property
    def failing(self) -> str | None:
        """Why nothing is measured at present."""
        return self._pace.failing

    @property
    def unmirrored(self) -> str | None:
        """Why no user's query can be measured at present; that nobody asks is no fault."""
        return self._copied_pace.failing

    async def run(self) -> None:
        """Work until cancelled."""
        # No proxy of the environment: the arms are Services of this cluster.
        client = httpx.AsyncClient(timeout=self._settings.timeout_seconds, trust_env=False)
        async with client:
            material = await self._load()
            while True:
                ready = await self._prepare(client, material)
                await self._until_changed(material, ready)

    async def _load(self) -> Sent:
        """Load the queries, again and again: a volume or registry may be corrected."""
        while self.material is None:
            try:
                self.material = await asyncio.to_thread(sources.load, self._settings)
            except NoQueries as error:
                self._tell_failure(error.sentence)
                await asyncio.sleep(self._pace.pause)
        self._pace.worked()
        found = self.material
        log.info("%s", found.told)
        return found

    async def _prepare(self, client: httpx.AsyncClient, material: Sent) -> Both:
        """Prepare both arms, one after the other, until it works."""
        settings = self._settings
        while True:
            try:
                ready = [
                    await comparing.prepare(
                        ARMS[protocol](client, name, url, settings.model),
                        material,
                        settings.component,
                        self._tell,
                    )
                    for name, url, protocol in (
                        ("teacher", settings.teacher_url, settings.teacher_protocol),
                        ("student", settings.student_url, settings.student_protocol),
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

    async def _until_changed(self, material: Sent, ready: Both) -> None:
        """Send all queries over and over, until an arm's model changes."""
        run = Run(material.digest, ready.teacher.digest, ready.student.digest)
        self.ledger = Ledger(run, tuple(self._wanted), material.count)
        self.telemetry.began(run, material.count)
        log.info("run %s begins", run.name)
        try:
            async with asyncio.TaskGroup() as group:
                if self._wanted:
                    group.create_task(self._over_and_over(self.ledger, material, ready))
                if self.inbox is not None:
                    group.create_task(self._of_users(self.inbox, run, ready))
        except* ModelChanged as group:
            arms = {error.arm for error in leaves(group) if isinstance(error, ModelChanged)}
            for arm in sorted(arms):
                self.telemetry.changed(arm)
                self._tell(f"the {arm} answers with another model")
        self.ledger = self.mirrored = None

    async def _over_and_over(self, ledger: Ledger, material: Sent, ready: Both) -> None:
        while True:
            await _Pass(self, ledger, material, ready).run()

    async def _of_users(self, inbox: Inbox, run: Run, ready: Both) -> None:
        left = inbox.begin(f"{run.teacher} {run.student}")
        own = replace(run, once=f"mirrored{secrets.token_hex(6)}")
        self.mirrored = Ledger(own, tuple(self._agreed), left)
        work = Agreement(ready, self.mirrored, inbox, self.telemetry, self._copied_pace)
        await work.run(self._agreed)

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

    def __init__(self, probe: Probe, ledger: Ledger, material: Sent, ready: Both) -> None:
        self._probe, self._ledger, self._ready = probe, ledger, ready
        self._waiting = deque((number, 1) for number in range(1, material.count + 1))
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
        for error in leaves(failed):
            assert isinstance(error, ArmFailed)
            self._probe.failure(error)
        if attempt < ATTEMPTS:
            self._waiting.appendleft((number, attempt + 1))
        elif self._ledger.settle(number, None):
            self._probe.telemetry.given_up()

    async def _scores(self, number: int) -> Mapping[str, Pair]:
        """Ask both arms at once; an ExceptionGroup where one of them did not answer."""
        wanted = self._probe.wanted
        teacher, student = await self._ready.ask(lambda arm: arm.measured(number, wanted))
        return {metric: (student[metric], teacher[metric]) for metric in wanted}
