"""One look at the counters of both arms: what was counted, or why there is nothing."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import aiohttp
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Custom, Quality
from distill_api.rollout_metrics import Metric as WantedMetric
from distill_api.rollout_policies import Prometheus

from distill_operator.effects.rollout import fetch, prober, readers
from distill_operator.effects.rollout.page import Page
from distill_operator.effects.rollout.prober import Probe
from distill_operator.effects.rollout.prometheus import Group, Source
from distill_operator.effects.rollout.readers import READERS, Tally
from distill_operator.errors import NotYet
from distill_operator.plan.rollout.evidence import Position
from distill_operator.plan.rollout.model import Arm, Counts, ObservedMetrics

AT_ONCE: Final = 32
"""Pods that are asked at the same time."""

type Answer[T] = T | NotYet
"""What was asked for, or why there is none."""


@dataclass(frozen=True, slots=True)
class Target:
    """A process that counts."""

    arm: Arm
    pod: str
    uid: str
    url: str
    """Of its page."""
    runtime: Runtime
    started: datetime
    """Of its container: with the uid it names the process."""
    created: datetime
    revision: str | None = None
    requests: str | None = None
    """Base URL of its requests, where it is known to be another than the page's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at."""

    namespace: str
    targets: tuple[Target, ...]
    metrics: tuple[WantedMetric, ...]
    prometheus: Prometheus | None = None
    """None: the pods themselves are asked."""
    probe: Probe | None = None
    """None: no prober runs. It is asked itself, as Prometheus keeps no pairs."""
    positions: Mapping[str, Position] = field(default_factory=dict)
    """How far the pairs of each metric were taken in."""


async def look(session: aiohttp.ClientSession, wanted: Wanted) -> ObservedMetrics:
    """Return what was counted and scored; never raises for what is not there."""
    paired = [metric for metric in wanted.metrics if isinstance(metric.kind, Quality)]
    counted, scored = await asyncio.gather(
        _counted(session, wanted),
        prober.look(session, wanted.probe, paired, wanted.positions),
    )
    problems = {**counted.problems, **scored.problems}
    return replace(counted, scores=scored.scores, problems=problems)


async def _counted(session: aiohttp.ClientSession, wanted: Wanted) -> ObservedMetrics:
    """Return the counters of every target."""
    source = Source(session, wanted.prometheus) if wanted.prometheus else None
    pages = await (_stored(source, wanted) if source else _served(session, wanted.targets))
    counts: list[Counts] = []
    problems: dict[str, str] = {}
    arrived = {target: _arrived(target, page) for target, page in pages.items()}
    for metric in wanted.metrics:
        if isinstance(metric.kind, Quality):
            continue
        found = await _tallies(metric, wanted, pages, source)
        # What a user's own query counts may be read where no page is.
        own = {} if isinstance(metric.kind, Custom) else arrived
        counts += (
            _counts(t, metric, a, own.get(t)) for t, a in found.items() if isinstance(a, Tally)
        )
        missing = _missing(found)
        if missing is not None:
            problems[metric.name] = missing
    return ObservedMetrics(counts=tuple(counts), problems=problems)


def _arrived(target: Target, page: Answer[Page]) -> int | None:
    """Return the requests of users; None where the process does not tell."""
    if isinstance(page, NotYet):
        return None
    try:
        return READERS[target.runtime].errors(page).requests
    except NotYet:
        return None


def _counts(target: Target, metric: WantedMetric, tally: Tally, arrived: int | None) -> Counts:
    return Counts(
        arm=target.arm,
        pod_uid=target.uid,
        started=target.started,
        metric=metric.name,
        requests=tally.requests,
        events=tally.events,
        revision=target.revision,
        created=target.created,
        arrived=arrived,
    )


def _missing(found: Mapping[Target, Answer[Tally]]) -> str | None:
    """Return why nothing is known of the student; None where any of its processes was read.

    Requests of a process that could not be read are missing from the measured split, which is
    tested: what is not seen promotes nothing.
    """
    answers = [answer for target, answer in found.items() if target.arm is Arm.STUDENT]
    if any(isinstance(answer, Tally) for answer in answers):
        return None
    return str(answers[0]) if answers else "no pod of the student runs"


async def _served(
    session: aiohttp.ClientSession, targets: Iterable[Target]
) -> Mapping[Target, Answer[Page]]:
    """Ask the pods themselves, in parallel."""
    free = asyncio.Semaphore(AT_ONCE)

    async def page(target: Target) -> tuple[Target, Answer[Page]]:
        async with free:
            return target, await _page(session, target)

    return dict(await asyncio.gather(*map(page, targets)))


async def _page(session: aiohttp.ClientSession, target: Target) -> Answer[Page]:
    try:
        text = await fetch.text(session, target.url)
        return Page.parse(text, READERS[target.runtime].families)
    except NotYet as error:
        return NotYet(f"pod {target.pod} of the {target.arm}: {error}")


async def _stored(source: Source, wanted: Wanted) -> Mapping[Target, Answer[Page]]:
    """Ask Prometheus for what it has of the pods of each arm."""
    found: dict[Target, Answer[Page]] = {}
    for group, targets in _groups(wanted):
        families = {f for target in targets for f in READERS[target.runtime].families}
        try:
            pages = await source.pages(group, sorted(families))
        except NotYet as error:
            found |= dict.fromkeys(targets, error)
            continue
        nothing = NotYet(f"Prometheus has nothing fresh of the {group.arm}'s pods")
        found |= {target: pages.get(target.pod, nothing) for target in targets}
    return found


def _groups(wanted: Wanted) -> Iterable[tuple[Group, list[Target]]]:
    ordered = sorted(wanted.targets, key=lambda target: target.arm.value)
    for arm, found in itertools.groupby(ordered, key=lambda target: target.arm):
        targets = list(found)
        yield Group(wanted.namespace, arm.value, tuple(t.pod for t in targets)), targets


async def _tallies(
    metric: WantedMetric,
    wanted: Wanted,
    pages: Mapping[Target, Answer[Page]],
    source: Source | None,
) -> Mapping[Target, Answer[Tally]]:
    """Return the totals of one metric in each process, or why there are none."""
    kind = metric.kind
    if isinstance(kind, Custom) and source is not None:
        return await _asked(kind, wanted, source)
    return {target: _tally(metric, target, page) for target, page in pages.items()}


def _tally(metric: WantedMetric, target: Target, page: Answer[Page]) -> Answer[Tally]:
    if isinstance(page, NotYet):
        return page
    try:
        return readers.read(page, target.runtime, metric)
    except NotYet as error:
        return NotYet(f"pod {target.pod} of the {target.arm}: {error}")


async def _asked(kind: Custom, wanted: Wanted, source: Source) -> Mapping[Target, Answer[Tally]]:
    """Ask for counters of the user's own."""
    found: dict[Target, Answer[Tally]] = {}
    for group, targets in _groups(wanted):
        try:
            requests, events = await asyncio.gather(
                source.counters(group, kind.requests), source.counters(group, kind.events)
            )
        except NotYet as error:
            found |= dict.fromkeys(targets, error)
            continue
        nothing = NotYet(f"{kind.requests!r} gives nothing for the {group.arm}'s pods")
        for target in targets:
            # Without requests there is no number; without events none of them was bad.
            counted = requests.get(target.pod)
            bad = min(events.get(target.pod, 0), counted or 0)
            found[target] = nothing if counted is None else Tally(counted, bad)
    return found
