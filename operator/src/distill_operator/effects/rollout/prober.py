"""Paired scores from the prober's pod: what it has found since, or why there is nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from distill_api.names import Label
from distill_api.probing import PAIRS_PATH, Pairs
from distill_api.rollout_metrics import Metric as WantedMetric
from distill_api.rollout_metrics import QuerySource

from distill_operator.effects.rollout import fetch
from distill_operator.errors import NotYet
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.evidence import Position
from distill_operator.plan.rollout.model import PairedScores
from distill_operator.render.rollout import prober as rendering

PORT_NAME: Final = "http"


@dataclass(frozen=True, slots=True)
class Probe:
    """The process that compares the arms."""

    pod: str
    url: str
    """Without a path."""


@dataclass(frozen=True, slots=True)
class Found:
    """Paired scores by metric, or why there are none."""

    scores: tuple[PairedScores, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def probe(pods: Iterable[Manifest]) -> Probe | None:
    """Return the prober among the pods of a rollout: the newest that runs."""
    running = [(body, url) for body in pods if (url := _url(body)) is not None]
    if not running:
        return None
    body, url = max(running, key=lambda found: found[0]["metadata"]["creationTimestamp"])
    return Probe(body["metadata"]["name"], url)


def _url(body: Manifest) -> str | None:
    """Return where a pod is asked; None for one of an arm, or one that has no process."""
    meta, address = body["metadata"], (body.get("status") or {}).get("podIP")
    ours = (meta.get("labels") or {}).get(Label.COMPONENT) == rendering.COMPONENT
    if not ours or not address or "deletionTimestamp" in meta:
        return None
    port = next(_ports(body), None)
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}" if port is not None else None


def _ports(body: Manifest) -> Any:
    for container in body["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == PORT_NAME:
                yield port["containerPort"]


async def look(
    session: aiohttp.ClientSession,
    asked: Probe | None,
    metrics: Iterable[WantedMetric],
    positions: Mapping[str, Position],
) -> Found:
    """Return the pairs of these metrics that are new since their positions; never raises."""
    found = [
        await _of_source(session, asked, (source, names), positions)
        for source, names in _by_source(metrics).items()
    ]
    scores = tuple(score for one in found for score in one.scores)
    return Found(scores, {name: why for one in found for name, why in one.problems.items()})


def _by_source(metrics: Iterable[WantedMetric]) -> Mapping[QuerySource, list[str]]:
    """Return the names of the metrics of each source: its queries are numbered apart."""
    found: dict[QuerySource, list[str]] = {}
    for metric in metrics:
        source = QuerySource.HELD_OUT if metric.quality is None else metric.quality.source
        found.setdefault(source, []).append(metric.name)
    return found


async def _of_source(
    session: aiohttp.ClientSession,
    asked: Probe | None,
    wanted: tuple[QuerySource, list[str]],
    positions: Mapping[str, Position],
) -> Found:
    source, names = wanted
    if asked is None:
        return Found(problems=dict.fromkeys(names, "no pod of the prober runs yet"))
    try:
        pairs = await _pairs(session, asked, source, [positions.get(name) for name in names])
    except NotYet as error:
        why = f"pod {asked.pod} of the prober: {error}"
        return Found(problems=dict.fromkeys(names, why))
    scores = tuple(_scores(name, pairs) for name in names if name in pairs.scores)
    missing = f"pod {asked.pod} of the prober does not measure it"
    problems = {name: missing for name in names if name not in pairs.scores}
    if pairs.failing is not None:
        # What was scored before still counts; that nothing more comes has to be said.
        problems |= {score.metric: pairs.failing for score in scores}
    return Found(scores, problems)


async def _pairs(
    session: aiohttp.ClientSession,
    asked: Probe,
    source: QuerySource,
    known: list[Position | None],
) -> Pairs:
    after: dict[str, int | str] = {}
    if source is not QuerySource.HELD_OUT:
        after["source"] = source.value
    if known and known[0] is not None and all(one == known[0] for one in known):
        # Of another run the prober hands over everything.
        after |= {"after": known[0].total, "run": known[0].probe_uid}
    query = f"?{urlencode(after)}" if after else ""
    text = await fetch.text(session, f"{asked.url}{PAIRS_PATH}{query}")
    return fetch.read(Pairs, text)


def _scores(metric: str, pairs: Pairs) -> PairedScores:
    return PairedScores(
        metric=metric,
        probe_uid=pairs.run,
        scores=tuple(pairs.scores[metric]),
        numbers=tuple(pairs.numbers),
        total=pairs.total,
        queries=pairs.queries,
    )
