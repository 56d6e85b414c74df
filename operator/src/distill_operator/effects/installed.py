"""What the API server serves and lets us read: it decides what is watched."""

import logging
from collections.abc import Iterable, Mapping
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


async def scope(cluster: Cluster, namespaces: tuple[str, ...]) -> Scope:
    """Return what to watch; BadSettings where not even DistillationJobs are served."""
    place = namespaces[0] if namespaces else None
    try:
        await cluster.probe(DISTILLATION_JOB, place)
    except errors.Missing as error:
        raise errors.BadSettings(
            "the API server does not know DistillationJobs: apply the folder crds/ first"
        ) from error
    return Scope(namespaces or (None,), await _selectors(cluster, place))


async def _selectors(cluster: Cluster, place: str | None) -> Mapping[Kind, str]:
    """Return the kinds to watch: those of rollouts only if they can all be read."""
    if not await _served(cluster, DISTILLED_ROLLOUT, place):
        log.info("DistilledModelRollouts are not served: only DistillationJobs are")
        return SELECTORS
    if not await _all_served(cluster, OF_ROLLOUTS, place):
        return SELECTORS
    if not await _all_served(cluster, GATEWAY_SELECTORS, place):
        log.warning(
            "the Gateway API is not installed or may not be read: rollouts wait for it;"
            " install it, then start the operator again"
        )
        return ROLLOUT_SELECTORS
    return ROLLOUT_SELECTORS | GATEWAY_SELECTORS


async def _all_served(cluster: Cluster, kinds: Iterable[Kind], place: str | None) -> bool:
    return all([await _served(cluster, kind, place) for kind in kinds])


async def _served(cluster: Cluster, kind: Kind, place: str | None) -> bool:
    """Tell whether a kind is there and may be listed; what we may not read is said once."""
    try:
        await cluster.probe(kind, place)
    except errors.Missing:
        return False
    except errors.Refused as error:
        log.warning("no rollouts are served, as %s may not be read: %s", kind.plural, error)
        return False
    return True
