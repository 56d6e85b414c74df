"""From a plan to the API server, in the order that is safe to break off at any point."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from distill_api import names

from distill_operator import errors
from distill_operator.effects import news, observe
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import DISTILLATION_JOB, JOB, MADE_BY_PLAN, Kind
from distill_operator.plan.model import Manifest, ObservedJob, Plan, RefusedChild

log = logging.getLogger(__name__)

type Remember = Callable[[Kind, Manifest], None]

type Key = tuple[str, str]
"""Kind and name of a child; all children live in their job's namespace."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a plan was made for, as it was seen."""

    body: Manifest
    job: ObservedJob
    children: dict[Key, Manifest]
    """Claims and Jobs that exist, ours or shared."""


def key(body: Manifest) -> Key:
    """Return what identifies a child within its namespace."""
    return body["kind"], body["metadata"]["name"]


class Converger:
    """Makes the cluster match plans; gives to `remember` what the API server answered."""

    def __init__(self, cluster: Cluster, remember: Remember, *, reporter: str) -> None:
        self._cluster = cluster
        self._remember = remember
        self._reporter = reporter

    async def converge(self, seen: Subject, plan: Plan, now: datetime) -> tuple[RefusedChild, ...]:
        """Act; return the children that the API server would not take.

        Finalizers come before the children that they guard, the status after the children that it
        reports, the events after the status, and what ends the object last.
        """
        body = await self._hold(seen, plan)
        await self._delete_unwanted(seen, plan)
        refused = await self._make_wanted(seen, plan)
        body = await self._report(seen.job, body, plan)
        await self._tell(seen.job, plan, now)
        await self._let_go(seen.job, body, plan)
        return refused

    async def _hold(self, seen: Subject, plan: Plan) -> Manifest:
        missing = set(plan.finalizers) - set(seen.job.finalizers)
        if not missing or seen.job.deleting:
            return seen.body
        return await self._set_finalizers(seen.body, [*seen.job.finalizers, *sorted(missing)])

    async def _delete_unwanted(self, seen: Subject, plan: Plan) -> None:
        wanted = {key(child) for child in plan.children}
        for child_key, child in seen.children.items():
            if child_key not in wanted and _may_delete(child, seen.job.uid):
                log.info("delete", extra=about(seen.job, child=child))
                await self._cluster.delete(MADE_BY_PLAN[child["kind"]], child)

    async def _make_wanted(self, seen: Subject, plan: Plan) -> tuple[RefusedChild, ...]:
        refused = [
            await self._make(seen, child)
            for child in plan.children
            if key(child) not in seen.children
        ]
        for child in plan.children:
            await self._suspend_or_resume(seen, child)
        return tuple(entry for entry in refused if entry is not None)

    async def _make(self, seen: Subject, child: Manifest) -> RefusedChild | None:
        """Create a child that is missing; return it where the API server will never take it."""
        kind = MADE_BY_PLAN[child["kind"]]
        try:
            made = await self._create_or_find(kind, child, seen.job)
        except errors.Missing:
            raise  # the namespace is going: the job goes with it
        except errors.Refused as error:
            return RefusedChild(kind.kind, child["metadata"]["name"], str(error))
        self._remember(kind, made)
        return None

    async def _create_or_find(self, kind: Kind, child: Manifest, job: ObservedJob) -> Manifest:
        name = child["metadata"]["name"]
        try:
            made = await self._cluster.create(kind, child, namespace=job.namespace)
        except errors.Exists as error:
            found = await self._cluster.get(kind, job.namespace, name)
            if "deletionTimestamp" in found["metadata"]:
                raise errors.NotYet(f"{kind.kind} {name} of before is still going") from error
            if owner_uids(found) == owner_uids(child):
                return found
            raise errors.Refused(
                f"{kind.kind} {name} exists already and does not belong to this job:"
                " delete or rename it"
            ) from error
        log.info("create", extra=about(job, child=made))
        return made

    async def _suspend_or_resume(self, seen: Subject, child: Manifest) -> None:
        """Patch the one field of an existing Job that may change; a finished Job has none."""
        found = seen.children.get(key(child))
        if found is None or child["kind"] != JOB.kind or _finished(found):
            return
        wanted = bool(child["spec"].get("suspend"))
        if bool(found["spec"].get("suspend")) != wanted:
            log.info("suspend" if wanted else "resume", extra=about(seen.job, child=found))
            change = {"spec": {"suspend": wanted}}
            name = found["metadata"]["name"]
            self._remember(JOB, await self._cluster.patch(JOB, seen.job.namespace, name, change))

    async def _report(self, job: ObservedJob, body: Manifest, plan: Plan) -> Manifest:
        """Write the status if it differs from what was read, and only over what was read.

        A change by somebody else in between is a Conflict, and the pass begins anew.
        """
        if plan.status == job.status and body.get("status") is not None:
            return body
        dumped = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = await self._cluster.replace(
            DISTILLATION_JOB, body | {"status": dumped}, sub="status"
        )
        self._remember(DISTILLATION_JOB, answer)
        return answer

    async def _tell(self, job: ObservedJob, plan: Plan, now: datetime) -> None:
        """Write the events; one that cannot be written is logged, as the status has it all."""
        for item in plan.news:
            log.info(item.message, extra=about(job, reason=str(item.reason)))
            try:
                await news.tell(self._cluster, job, item, reporter=self._reporter, now=now)
            except (errors.Refused, errors.NotYet) as error:
                log.warning("event not written: %s", error, extra=about(job))

    async def _let_go(self, job: ObservedJob, body: Manifest, plan: Plan) -> None:
        held = body["metadata"].get("finalizers") or []
        kept = [name for name in held if name in plan.finalizers or not _is_ours(name)]
        if kept != held:
            body = await self._set_finalizers(body, kept)
        if plan.delete_job and not job.deleting:
            log.info("delete the job: its time to live is over", extra=about(job))
            await self._cluster.delete(DISTILLATION_JOB, body)

    async def _set_finalizers(self, body: Manifest, wanted: list[str]) -> Manifest:
        meta = body["metadata"]
        change = {"metadata": {"finalizers": wanted, "resourceVersion": meta["resourceVersion"]}}
        answer = await self._cluster.patch(
            DISTILLATION_JOB, meta["namespace"], meta["name"], change
        )
        self._remember(DISTILLATION_JOB, answer)
        return answer


def _is_ours(finalizer: str) -> bool:
    return finalizer.startswith(f"{names.GROUP}/")


def _may_delete(child: Manifest, owner: str) -> bool:
    return observe.owned_by(child, owner) and "deletionTimestamp" not in child["metadata"]


def owner_uids(body: Manifest) -> set[str]:
    """Return the uids of the object's owners."""
    return {ref["uid"] for ref in body["metadata"].get("ownerReferences") or ()}


def _finished(job: Manifest) -> bool:
    found = job.get("status") or {}
    return any(observe.condition(found, kind) for kind in ("Complete", "Failed"))


def about(
    job: ObservedJob, *, child: Manifest | None = None, reason: str | None = None
) -> dict[str, Any]:
    """Return the fields that a log line about this job carries."""
    fields: dict[str, Any] = {
        "namespace": job.namespace,
        "job": job.name,
        "generation": job.generation,
    }
    if child is not None:
        fields["child"] = "/".join(key(child))
    if reason is not None:
        fields["reason"] = reason
    return {"about": fields}


def subject(body: Manifest, job: ObservedJob, children: Iterable[Manifest]) -> Subject:
    """Return the subject of a pass."""
    return Subject(body, job, {key(child): child for child in children})
