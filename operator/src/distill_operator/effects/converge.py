"""From a plan to the API server, in the order that is safe to break off at any point."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DISTILLATION_JOB, JOB, MADE_BY_PLAN, SELECTORS
from distill_operator.effects.ours import Hand, Key, Remember, Whole, key
from distill_operator.plan.model import Manifest, ObservedJob, Plan, RefusedChild

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a plan was made for, as it was seen."""

    body: Manifest
    job: ObservedJob
    children: dict[Key, Manifest]
    """Claims and Jobs that exist, ours or shared."""

    @property
    def whole(self) -> Whole:
        """The job as an object of ours."""
        return Whole.of(DISTILLATION_JOB, self.body)


class Converger:
    """Makes the cluster match plans; gives to `remember` what the API server answered."""

    def __init__(self, cluster: Cluster, remember: Remember, *, reporter: str) -> None:
        self._cluster = cluster
        self._remember = remember
        self._hand = Hand(cluster, remember, reporter=reporter)

    async def converge(self, seen: Subject, plan: Plan, now: datetime) -> tuple[RefusedChild, ...]:
        """Act; return the children that the API server would not take.

        Finalizers come before the children that they guard, the status after the children that it
        reports, the events after the status, and what ends the object last.
        """
        body = await self._hand.hold(seen.whole, seen.body, plan.finalizers)
        await self._delete_unwanted(seen, plan)
        refused = await self._make_wanted(seen, plan)
        body = await self._hand.report(seen.whole, body, seen.job.status, plan.status)
        await self._hand.tell(seen.whole, plan.news, now)
        await self._let_go(seen, body, plan)
        return refused

    async def _delete_unwanted(self, seen: Subject, plan: Plan) -> None:
        wanted = {key(child) for child in plan.children}
        for child_key, child in seen.children.items():
            if child_key not in wanted and _may_delete(child, seen.job.uid):
                log.info("delete", extra=seen.whole.about(child=child))
                await self._cluster.delete(MADE_BY_PLAN[child["kind"]], child)

    async def _make_wanted(self, seen: Subject, plan: Plan) -> tuple[RefusedChild, ...]:
        refused = [
            await self._make(seen, child)
            for child in plan.children
            if key(child) not in seen.children
        ]
        for child in plan.children:
            await self._change(seen, child)
        return tuple(entry for entry in refused if entry is not None)

    async def _make(self, seen: Subject, child: Manifest) -> RefusedChild | None:
        """Create a child that is missing; return it where the API server will never take it."""
        kind = MADE_BY_PLAN[child["kind"]]
        try:
            made = await self._hand.create_or_find(seen.whole, kind, child)
        except errors.Missing:
            raise  # the namespace is going: the job goes with it
        except errors.Refused as error:
            return RefusedChild(kind.kind, child["metadata"]["name"], str(error))
        if kind in SELECTORS:
            self._remember(kind, made)
        return None

    async def _change(self, seen: Subject, child: Manifest) -> None:
        """Patch the fields of an existing Job that may change; a finished Job has none."""
        found = seen.children.get(key(child))
        if found is None or child["kind"] != JOB.kind or _finished(found):
            return
        now, wanted = found["spec"], child["spec"]
        change: Manifest = {}
        if bool(now.get("suspend")) != bool(wanted.get("suspend")):
            change["suspend"] = bool(wanted.get("suspend"))
        if _no_more_tries(wanted) and now.get("backoffLimit") != 0:
            change["backoffLimit"] = 0
        if change:
            log.info("change %s", change, extra=seen.whole.about(child=found))
            name = found["metadata"]["name"]
            patch = {"spec": change}
            self._remember(JOB, await self._cluster.patch(JOB, seen.job.namespace, name, patch))

    async def _let_go(self, seen: Subject, body: Manifest, plan: Plan) -> None:
        body = await self._hand.let_go(seen.whole, body, plan.finalizers)
        if plan.delete_job and not seen.job.deleting:
            log.info("delete the job: its time to live is over", extra=seen.whole.about())
            await self._cluster.delete(DISTILLATION_JOB, body)


def _may_delete(child: Manifest, owner: str) -> bool:
    return observe.owned_by(child, owner) and "deletionTimestamp" not in child["metadata"]


def _no_more_tries(wanted: Manifest) -> bool:
    """Tell whether an identity, which has no template, asks that a Job fails for good."""
    return "template" not in wanted and wanted.get("backoffLimit") == 0


def _finished(job: Manifest) -> bool:
    found = job.get("status") or {}
    return any(observe.condition(found, kind) for kind in ("Complete", "Failed"))


def subject(body: Manifest, job: ObservedJob, children: Iterable[Manifest]) -> Subject:
    """Return the subject of a pass."""
    return Subject(body, job, {key(child): child for child in children})
