"""The whole operator put together: what there is, what runs, and how it stops."""

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, Final

import kopf
from aiohttp import web
from distill_api.names import Stage

from distill_operator import errors
from distill_operator.effects import installed
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.connection import Connection
from distill_operator.effects.converge import Converger
from distill_operator.effects.installed import Installed
from distill_operator.effects.kinds import CLAIM, DISTILLATION_JOB, DISTILLED_ROLLOUT, Kind
from distill_operator.effects.leadership import Leadership
from distill_operator.effects.lease import Election, Terms
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.queue import WorkQueue
from distill_operator.effects.rollout import observe
from distill_operator.effects.rollout.converge import RolloutConverger
from distill_operator.effects.rollout.numbers import RolloutNumbers
from distill_operator.effects.rollout.scrapes import Scrapes
from distill_operator.effects.rollout.tokens import TokenChecks
from distill_operator.effects.store import Store, owner_uid, uid
from distill_operator.effects.watches import Watches
from distill_operator.effects.web import Probes, Pulse, application
from distill_operator.handlers import shell
from distill_operator.handlers.progress import Doors, ProgressEndpoint
from distill_operator.handlers.reconcile import Reconciler
from distill_operator.handlers.rollouts import Hands, RolloutReconciler
from distill_operator.handlers.turns import Turns
from distill_operator.handlers.workers import Workers
from distill_operator.plan import model
from distill_operator.plan.model import Manifest, ObservedProgress
from distill_operator.plan.rollout import model as rollout_model
from distill_operator.settings import Settings

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 10.0
RELIST_SECONDS: Final = 5.0
"""Pause after a list that failed."""
REIGN_SECONDS: Final = 0.5
"""How often the end of a reign is looked for: it ends by the clock, without an event."""


class App:
    """One replica of the operator."""

    def __init__(self, settings: Settings, connection: Connection, found: Installed) -> None:
        scope = found.scope
        self.settings = settings
        self.found = found
        self.metrics = Metrics()
        self.leadership = Leadership(time.monotonic)
        self.store = Store(scope.selectors)
        self.queue = WorkQueue(time.monotonic)
        self._informed = 0
        """The reign for which everything was listed."""
        count = self.metrics.call
        self.cluster = Cluster(connection, fence=self.leadership.require, count=count)
        self.unfenced = Cluster(connection, fence=lambda: None, count=count)
        self.election = Election(self.unfenced, _terms(settings), self.leadership, time.monotonic)
        self.watches = Watches(self.cluster, self.store, self.metrics, scope, self.wake)
        self.pulse = Pulse(self.metrics)
        converger = Converger(self.cluster, self.watches.remember, reporter=settings.identity)
        self.reconciler = Reconciler(
            self.cluster, self.store, converger, self.metrics, self.planning_settings
        )
        self.scrapes = Scrapes(self._due)
        self.tokens = TokenChecks(self._due)
        turns = Turns(self.reconciler, self._rollouts())
        self.workers = Workers(self.queue, turns, self.leadership, self.metrics, settings.workers)
        self.progress = ProgressEndpoint(
            settings, Doors(self.cluster, self.unfenced), self.store, self.metrics, self._push
        )
        self.metrics.at_scrape(
            phases=self._phases,
            leading=lambda: self.leadership.held,
            depth=lambda: self.queue.depth,
            ages=self.watches.ages,
        )
        if self.store.watches(DISTILLED_ROLLOUT):
            self.metrics.registry.register(self._numbers())

    def _rollouts(self) -> RolloutReconciler:
        settings = self.settings
        converger = RolloutConverger(
            self.cluster, self.watches.remember, reporter=settings.identity
        )
        hands = Hands(self.cluster, self.store, converger, self.scrapes, self.tokens)
        planning = rollout_model.Settings(
            server_image=settings.server_image,
            prober_image=settings.server_image,
            image_volumes=self.found.image_volumes,
        )
        return RolloutReconciler(hands, planning, unroutable=self.found.lacking or None)

    def _numbers(self) -> RolloutNumbers:
        return RolloutNumbers(
            lambda: self.store.all(DISTILLED_ROLLOUT),
            leading=lambda: self.leadership.held,
            since=datetime.now(UTC),
        )

    def planning_settings(self) -> model.Settings:
        """Return what decisions depend on."""
        return model.Settings(
            trainer_image=self.settings.trainer_image,
            progress_url=self.progress.url,
            progress_ca=self.progress.authority,
            code_version=metadata.version("kubedistill"),
            progress_write_interval=timedelta(seconds=self.settings.progress_write_seconds),
            lost_node_tolerance=timedelta(seconds=self.settings.lost_node_seconds),
        )

    def wake(self, kind: Kind, body: Manifest) -> None:
        """Make due what an object belongs to, and what depends on it; a claim: all jobs around."""
        owner = owner_uid(kind, body)
        if owner is not None:
            self._due(owner)
        elif kind == CLAIM:
            for key in self.store.jobs_in(body["metadata"]["namespace"]):
                self._due(key)
        for key in observe.concerned(kind, body, self.store):
            self._due(key)

    def _due(self, key: str) -> None:
        """Make a job due; before a reign has seen everything, all jobs are about to be due."""
        if self._informed == self.leadership.reign and self.leadership.held:
            self.queue.wake(key)

    def _push(self, owner: str, stage: Stage, progress: ObservedProgress) -> None:
        self.reconciler.push(owner, stage, progress)
        self._due(owner)

    def _phases(self) -> list[str]:
        return [
            str((body.get("status") or {}).get("phase", "Pending"))
            for body in self.store.all(DISTILLATION_JOB)
        ]

    async def lead(self) -> None:
        """At the start of each reign see everything anew, then let the workers have all jobs."""
        while True:
            await self.leadership.gained()
            reign = self.leadership.reign
            self.queue.clear()
            try:
                await self.watches.resync()
            except errors.DistillationError as error:
                log.warning("could not list everything: %s", error)
                await asyncio.sleep(REIGN_SECONDS)
                continue
            self._informed = reign
            for kind in (DISTILLATION_JOB, DISTILLED_ROLLOUT):
                for body in self.store.all(kind):
                    self._due(uid(body))
            while self.leadership.reign == reign and self.leadership.held:  # noqa: ASYNC110 - see REIGN_SECONDS
                await asyncio.sleep(REIGN_SECONDS)

    async def resync(self) -> None:
        """List everything at the start, also as a follower, and again from time to time."""
        while True:
            pause = self.settings.resync_seconds * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
            try:
                await self.watches.resync()
            except errors.DistillationError as error:
                log.warning("not everything could be listed: %s", error)
                pause = RELIST_SECONDS
            await asyncio.sleep(pause)

    def healthy(self) -> list[str]:
        """Return why this process should be started anew."""
        dead = [f"the watch of {plural} delivers nothing" for plural in self.watches.dead()]
        lag = self.pulse.complaint()
        return dead + ([lag] if lag else [])

    def ready(self) -> list[str]:
        """Return why this replica could not lead now."""
        return [] if self.watches.synced else ["not everything has been listed yet"]


def _terms(settings: Settings) -> Terms:
    whole = settings.lease_seconds
    return Terms(
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=settings.identity,
        duration=whole,
        renew_deadline=whole * 2 / 3,
        retry=whole * 2 / 15,
    )


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; raise what made it impossible to go on."""
    async with Connection() as connection:
        # Asked before there is anything to count with, and before anybody leads.
        asks = Cluster(connection, fence=lambda: None, count=lambda *_: None)
        found: Installed | None = await installed.look(
            asks, settings.watch_namespaces, image_volumes=settings.image_volumes
        )
        stop = asyncio.Event()
        while found is not None:
            app = App(settings, connection, found)
            async with _serving(app):
                found = await _until_stopped(app, stop, installed.grown(asks, found))


@contextlib.asynccontextmanager
async def _serving(app: App) -> AsyncIterator[None]:
    probes = Probes(healthy=app.healthy, ready=app.ready)
    runner = web.AppRunner(application(app.metrics, probes), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, None, app.settings.metrics_port)
    await site.start()
    try:
        async with app.progress.serving():
            yield
    finally:
        await app.scrapes.close()
        await app.tokens.close()
        await runner.cleanup()


async def _until_stopped(
    app: App, stop: asyncio.Event, grown: Coroutine[Any, Any, Installed]
) -> Installed | None:
    """Run every task until one fails or a signal comes; then stop writing before letting go.

    Returns what there is by now where that is more than the app was made for: another one, which
    watches all of it, takes over as after a restart. None: it is the end.
    """
    names: dict[str, Coroutine[Any, Any, Installed | None]] = {
        "installed": grown,
        "pulse": app.pulse.run(),
        "lead": app.lead(),
        "resync": app.resync(),
        "workers": app.workers.run(),
        "election": app.election.run(),
        "certificate": app.progress.renew(),
        "endpoint": app.progress.attract(app.leadership),
        "stop": _stopped(stop),
    }
    ours: list[asyncio.Task[Installed | None]] = [
        asyncio.create_task(work, name=name) for name, work in names.items()
    ]
    quit_kopf = asyncio.Event()
    ours.append(asyncio.create_task(_kopf(app, quit_kopf, stop), name="kopf"))
    done, _ = await asyncio.wait(ours, return_when=asyncio.FIRST_COMPLETED)
    quit_kopf.set()
    for task in ours:
        if task.get_name() != "kopf":
            task.cancel()
    await asyncio.wait(ours, timeout=STOP_SECONDS)
    await app.election.release()
    results = [task.result() for task in done]
    return None if stop.is_set() else next((found for found in results if found), None)


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()
    log.info("stopping")


async def _kopf(app: App, quit_kopf: asyncio.Event, stop: asyncio.Event) -> None:
    """Run kopf's watches; the signals are ours, as the lease is given up before the watches end."""
    namespaces = app.settings.watch_namespaces
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=shell.registry(app.watches),
        settings=shell.settings(app.watches.scope.selectors),
        standalone=True,
        stop_flag=quit_kopf,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await kopf.run_tasks(tasks, ignored=before)
