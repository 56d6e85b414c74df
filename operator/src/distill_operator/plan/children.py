"""The full set of children that a job should have: its claims, and the Jobs of its stages."""

from collections.abc import Iterator
from datetime import timedelta

from distill_api.job import DistillationJobSpec
from distill_api.names import Stage

from distill_operator.plan import look, naming, revision, suspend, task, together
from distill_operator.plan.look import Sighting
from distill_operator.plan.model import Manifest, Observed, ObservedStageJob, Settings
from distill_operator.plan.stages import MOVES
from distill_operator.render import claim, gang, needs
from distill_operator.render import job as job_manifest
from distill_operator.render.order import Order, Owner, Surroundings


def going(
    seen: Observed, settings: Settings, stage: Stage, sighting: Sighting
) -> tuple[Manifest, ...]:
    """Return the children of a job at work on a stage."""
    spec = seen.job.spec
    assert spec is not None
    move = MOVES[sighting.sight]
    attempt = sighting.attempt + move.next_attempt
    jobs = list(_kept(seen, spec, naming.stage_job(seen.job, stage, attempt)))
    if move.creates and look.at_work(seen) is None:
        jobs += stage_children(seen, settings, stage, attempt)
    return (*_claims(seen, spec), *jobs)


def at_rest(seen: Observed) -> tuple[Manifest, ...]:
    """Return the children of a job that has finished: what is there stays, for its logs."""
    kept = (_as_it_is(seen, job, job.suspended) for job in seen.stage_jobs if look.finished(job))
    return (*_owned_claims(seen), *kept)


def unchanged(seen: Observed) -> tuple[Manifest, ...]:
    """Return everything that is there, as it is."""
    kept = (_as_it_is(seen, job, job.suspended) for job in seen.stage_jobs)
    return (*_owned_claims(seen), *kept)


def stage_children(
    seen: Observed, settings: Settings, stage: Stage, attempt: int
) -> tuple[Manifest, ...]:
    """Return the Job of a stage, after the Service by which its pods find each other."""
    order = _order(seen, settings, stage, attempt)
    service = gang.service(order)
    made = job_manifest.manifest(order)
    return (made,) if service is None else (service, made)


def stage_job(seen: Observed, settings: Settings, stage: Stage, attempt: int) -> Manifest:
    """Return the Job of a stage."""
    return job_manifest.manifest(_order(seen, settings, stage, attempt))


def _order(seen: Observed, settings: Settings, stage: Stage, attempt: int) -> Order:
    job, spec = seen.job, seen.job.spec
    assert spec is not None
    cached = stage in needs.USES_CACHE
    return Order(
        name=naming.stage_job(job, stage, attempt),
        owner=_owner(seen),
        spec=spec,
        task=task.of_stage(job, spec, stage, attempt, served=seen.served),
        settings_digest=revision.digest(spec),
        suspend=suspend.at_creation(spec) and stage is not Stage.CLEANUP,
        around=_surroundings(settings),
        workspace_claim=task.workspace_claim(job, spec),
        cache_claim=task.cache_claim(spec) if cached else None,
    )


def _kept(seen: Observed, spec: DistillationJobSpec, current: str) -> Iterator[Manifest]:
    """Yield the Jobs that stay: the current one, and the ended ones for their logs."""
    for job in seen.stage_jobs:
        if look.finished(job):
            yield _as_it_is(seen, job, job.suspended)
        elif job.name == current and not suspend.by_removal(spec):
            yield _at_work(seen, spec, job)


def _at_work(seen: Observed, spec: DistillationJobSpec, job: ObservedStageJob) -> Manifest:
    pods = [pod for pod in seen.pods if pod.job_name == job.name]
    return job_manifest.identity(
        seen.job.namespace,
        job.name,
        suspend=suspend.of_existing(spec, job),
        no_more_tries=together.exhausted(seen, job.stage, pods),
    )


def _claims(seen: Observed, spec: DistillationJobSpec) -> Iterator[Manifest]:
    yield from _owned_claims(seen)
    there = {found.name for found in seen.claims}
    made = naming.workspace_claim(seen.job)
    if task.workspace_claim(seen.job, spec) == made and made not in there:
        yield claim.workspace(_owner(seen), spec.workspace, made)
    if task.cache_claim(spec) == claim.LABEL_CACHE and claim.LABEL_CACHE not in there:
        yield claim.label_cache(_owner(seen), spec.workspace)


def _owned_claims(seen: Observed) -> Iterator[Manifest]:
    for found in seen.claims:
        if found.owned or found.name == claim.LABEL_CACHE:
            yield claim.identity(seen.job.namespace, found.name)


def _as_it_is(seen: Observed, job: ObservedStageJob, suspended: bool) -> Manifest:  # noqa: FBT001 - the value of one manifest field
    return job_manifest.identity(seen.job.namespace, job.name, suspend=suspended)


def _owner(seen: Observed) -> Owner:
    return Owner(seen.job.namespace, seen.job.name, seen.job.uid)


def _surroundings(settings: Settings) -> Surroundings:
    return Surroundings(
        image=settings.trainer_image,
        progress_url=settings.progress_url,
        progress_ca=settings.progress_ca,
        lost_node_tolerance=max(settings.lost_node_tolerance, timedelta(0)),
    )
