"""Raw counters of pods from Prometheus' HTTP API, as pages like those of the pods themselves."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from distill_api.rollout_policies import Prometheus

from distill_operator.effects.rollout import fetch
from distill_operator.effects.rollout.page import Page, Sample, stem
from distill_operator.errors import NotYet

STALE_INTERVALS: Final = 3
"""Scrapes after which a sample is too old: instant queries return ones of up to five minutes."""


@dataclass(frozen=True, slots=True)
class Group:
    """The pods of one arm."""

    namespace: str
    arm: str
    pods: tuple[str, ...]
    """Their names."""

    @property
    def pattern(self) -> str:
        """A regular expression that matches their names and no others."""
        return "|".join(map(re.escape, self.pods))

    def fill(self, query: str) -> str:
        """Return a query of the user's with this arm in it."""
        pattern = _quoted(self.pattern)
        named = {"$namespace": self.namespace, "$pods": pattern, "$arm": self.arm}
        return re.sub(r"\$(namespace|pods|arm)\b", lambda found: named[found[0]], query)


def _quoted(text: str) -> str:
    """Return a text as it stands between double quotes in PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


class Source:
    """One Prometheus."""

    def __init__(self, session: aiohttp.ClientSession, where: Prometheus) -> None:
        self._session = session
        self._url = f"{where.url.rstrip('/')}/api/v1/query"
        self._oldest = STALE_INTERVALS * where.scrape_interval_seconds

    async def pages(self, group: Group, families: Iterable[str]) -> Mapping[str, Page]:
        """Return the page of each pod that has one, by its name, with these families.

        NotYet where Prometheus does not answer, or what it has is stale.
        """
        names = "|".join(f"{re.escape(name)}(_total|_bucket|_count)?" for name in families)
        chosen = _quoted(f"{names}")
        series = (
            f'{{__name__=~"{chosen}",namespace="{_quoted(group.namespace)}",'
            f'pod=~"{_quoted(group.pattern)}"}}'
        )
        found, ages = await asyncio.gather(
            self._vector(series), self._vector(f"max by (pod) (time() - timestamp({series}))")
        )
        fresh = {pod for pod, age in _by_pod(ages).items() if age <= self._oldest}
        return {pod: _page(found, pod) for pod in group.pods if pod in fresh}

    async def counters(self, group: Group, query: str) -> Mapping[str, int]:
        """Return a counter of each pod by its name, as a query of the user's gives it."""
        found = _by_pod(await self._vector(group.fill(query)))
        wrong = {pod: value for pod, value in found.items() if not _is_count(value)}
        if wrong:
            pod, value = next(iter(wrong.items()))
            raise NotYet(f"{query!r} gives {value} for pod {pod}: expected a whole number")
        return {pod: int(value) for pod, value in found.items() if pod in group.pods}

    async def _vector(self, query: str) -> list[Any]:
        answer = await fetch.text(self._session, self._url, form={"query": query})
        try:
            found = json.loads(answer)["data"]
            if found["resultType"] != "vector":
                raise NotYet(f"{query!r} gives a {found['resultType']}: expected a vector")
            return list(found["result"])
        except (ValueError, KeyError, TypeError) as error:
            raise NotYet(f"{self._url} does not answer as Prometheus does: {error!r}") from error


def _is_count(value: float) -> bool:
    return value >= 0 and float(value).is_integer()


def _by_pod(vector: list[Any]) -> dict[str, float]:
    """Return the value of each pod; NotYet where a series has no pod or a pod several series."""
    found: dict[str, float] = {}
    for series in vector:
        pod = series["metric"].get("pod")
        if pod is None:
            raise NotYet("a series has no label pod: sum by (pod)")
        if pod in found:
            raise NotYet(f"pod {pod} has several series: sum by (pod)")
        found[pod] = float(series["value"][1])
    return found


def _page(vector: list[Any], pod: str) -> Page:
    samples = tuple(
        Sample(series["metric"]["__name__"], series["metric"], float(series["value"][1]))
        for series in vector
        if series["metric"].get("pod") == pod
    )
    return Page(samples, frozenset(stem(sample.name) for sample in samples))
