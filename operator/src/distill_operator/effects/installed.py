"""What the API server serves and lets us read: it decides what is watched and how pods look."""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import (
    DEPLOYMENT,
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    ENDPOINT_SLICE,
    GATEWAY_SELECTORS,
    ROLLOUT_SELECTORS,
    SELECTORS,
    SERVICE,
    Kind,
)
from distill_operator.effects.watches import Scope

log = logging.getLogger(__name__)

OF_ROLLOUTS: Final = (DISTILLED_ROLLOUT, DEPLOYMENT, SERVICE, ENDPOINT_SLICE)
RECHECK_SECONDS: Final = 30.0
"""Pause between two looks for a kind that was not there: its arrival is seen so late at most.

A watch of CustomResourceDefinitions would see it at once, but it needs a right on the whole
cluster, and says nothing of rights that are given later.
"""
IMAGE_VOLUMES: Final = (1, 35)
"""First version of Kubernetes that knows image volumes without a feature gate."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the operator finds where it works."""

    scope: Scope
    image_volumes: bool = True
    """Pods can mount an image; otherwise an init container copies the model."""
    lacking: str = ""
    """What is not served or may not be read, as a sentence; empty: everything is there."""


async def look(
    cluster: Cluster, namespaces: tuple[str, ...], *, image_volumes: bool | None = None
) -> Installed:
    """Return what is there; BadSettings where not even DistillationJobs are served.

    image_volumes: what a person decided; None: it is told by the version of the API server.
    """
    place = namespaces[0] if namespaces else None
    try:
        await cluster.probe(DISTILLATION_JOB, place)
    except errors.Missing as error:
        raise errors.BadSettings(
            "the API server does not know DistillationJobs: apply the folder crds/ first"
        ) from error
    selectors, lacking = await _selectors(cluster, place)
    if lacking:
        log.info(lacking)
    mounts = await _mounts_images(cluster) if image_volumes is None else image_volumes
    return Installed(Scope(namespaces or (None,), selectors), mounts, lacking)


async def grown(cluster: Cluster, known: Installed, *, every: float = RECHECK_SECONDS) -> Installed:
    """Return what is there as soon as that is more than was known; never, if all of it was.

    That something has gone is not looked for: its watch falls silent, and the process is started
    anew for it.
    """
    while known.lacking:
        await asyncio.sleep(every)
        try:
            selectors, lacking = await _selectors(cluster, known.scope.namespaces[0])
        except errors.DistillationError as error:
            log.debug("could not look for what is installed: %s", error)
            continue
        if selectors.keys() > known.scope.selectors.keys():
            scope = replace(known.scope, selectors=selectors)
            return replace(known, scope=scope, lacking=lacking)
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _selectors(cluster: Cluster, place: str | None) -> tuple[Mapping[Kind, str], str]:
    """Return the kinds to watch and what lacks: those of rollouts only if all can be read."""
    lacking = await _lacking(cluster, OF_ROLLOUTS, place)
    if lacking:
        return SELECTORS, f"only DistillationJobs are served: {lacking}"
    lacking = await _lacking(cluster, GATEWAY_SELECTORS, place)
    if lacking:
        return ROLLOUT_SELECTORS, f"rollouts wait for the Gateway API: {lacking}"
    return ROLLOUT_SELECTORS | GATEWAY_SELECTORS, ""


async def _lacking(cluster: Cluster, kinds: Iterable[Kind], place: str | None) -> str:
    """Return why the first of the kinds cannot be watched; empty where all of them can."""
    for kind in kinds:
        try:
            await cluster.probe(kind, place)
        except errors.Missing:
            return f"{kind.plural} ({kind.api_version}) are not installed in this cluster"
        except errors.Refused as error:
            return f"the operator may not read {kind.plural} ({error})"
    return ""


async def _mounts_images(cluster: Cluster) -> bool:
    """Tell whether the API server takes image volumes; one that does not say is taken for new."""
    try:
        told = await cluster.version()
    except errors.Refused as error:
        log.warning("the API server does not tell its version: %s", error)
        return True
    # Vendors write their minor version as `35+`.
    parts = [re.match(r"\d+", str(told.get(part, ""))) for part in ("major", "minor")]
    numbers = tuple(int(part[0]) for part in parts if part)
    known = len(numbers) < len(parts) or numbers >= IMAGE_VOLUMES
    if not known:
        log.info("Kubernetes %s has no image volumes: models are copied", told.get("gitVersion"))
    return known
