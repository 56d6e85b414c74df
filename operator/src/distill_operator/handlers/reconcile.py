"""One pass over one DistillationJob: see, decide, act; everything interesting is in `plan`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from distill_api.names import Stage

from distill_operator import errors
from distill_operator.effects import observe, served
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.converge import Converger, Subject, subject
from distill_operator.effects.kinds import CLAIM, DISTILLATION_JOB, JOB, POD
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.mounts import PATIENCE, Mounts
from distill_operator.effects.store import Store
from distill_operator.plan import job as planning
from distill_operator.plan.model import (
    Manifest,
    Observed,
    ObservedProgress,
    Plan,
    RefusedChild,
    Settings,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Memory:
    """What is known of a job beside the API server; losing it only costs time."""

    refused: tuple[RefusedChild, ...] = ()
    progress: dict[Stage, ObservedProgress] = field(default_factory=dict)


class Reconciler:
    """Runs passes; keeps no truth of its own."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        converger: Converger,
        metrics: Metrics,
        settings: Callable[[], Settings],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._converger = converger
        self._metrics = metrics
        self._settings = settings
        self._mounts = Mounts(cluster)
        self._memory: dict[str, Memory] = {}

    def push(self, uid: str, stage: Stage, progress: ObservedProgress) -> None:
        """Keep the latest progress of a stage for the passes to come."""
        self._memory.setdefault(uid, Memory()).progress[stage] = progress

    async def turn(self, uid: str) -> timedelta | None:
        """Run one pass; return when to look again, None to wait for a change."""
        body = self._store.get(DISTILLATION_JOB, uid)
        if body is None:
            self._memory.pop(uid, None)
            return None
        try:
            return await self._pass(uid, body)
        except errors.Conflict:
            await self._store.read_again(self._cluster, DISTILLATION_JOB, body)
            raise

    async def _pass(self, uid: str, body: Manifest) -> timedelta | None:
        now = datetime.now(UTC)
        memory = self._memory.setdefault(uid, Memory())
        seen, observed = await self._see(uid, body, memory, now)
        plan = planning.plan(observed, self._settings(), now=now)
        refused = await self._converger.converge(seen, plan, now)
        self._metrics.completed(observed.job.status, plan.status)
        if refused != memory.refused:
            memory.refused = refused
            for child in refused:
                log.warning(child.message, extra=seen.whole.about(reason="ChildRefused"))
            return timedelta()
        return self._next_look(plan, observed)

    async def _see(
        self, uid: str, body: Manifest, memory: Memory, now: datetime
    ) -> tuple[Subject, Observed]:
        pods = self._store.children(POD, uid)
        jobs = self._store.children(JOB, uid)
        job = observe.job(body)
        claims = [*self._store.children(CLAIM, uid), *self._store.shared(CLAIM, job.namespace)]
        mounts = await self._mounts.problems(pods, now)
        observed = Observed(
            job=job,
            stage_jobs=tuple(filter(None, map(observe.stage_job, jobs))),
            pods=tuple(
                filter(None, (observe.pod(p, mounts.get(p["metadata"]["uid"])) for p in pods))
            ),
            claims=tuple(observe.claim(claim, uid) for claim in claims),
            progress=dict(memory.progress),
            refused=memory.refused,
            served=served.digests(job.spec, self._store),
        )
        return subject(body, job, [*jobs, *claims]), observed

    def _next_look(self, plan: Plan, observed: Observed) -> timedelta | None:
        """Return the planner's time, or earlier while a pod may turn out to be stuck."""
        looks = [plan.look_again] if plan.look_again is not None else []
        if any(pod.phase == "Pending" and pod.node for pod in observed.pods):
            looks.append(PATIENCE)
        return min(looks, default=None)
