"""The Task of a stage, and the folders and claims that it works on."""

from collections.abc import Iterable

from distill_api import wire
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.wire import JobRef, Task

from distill_operator.plan import naming
from distill_operator.plan.model import ObservedJob
from distill_operator.render import claim, needs, resources


def of_stage(
    job: ObservedJob,
    spec: DistillationJobSpec,
    stage: Stage,
    attempt: int,
    *,
    served: Iterable[str] = (),
) -> Task:
    """Return everything that a stage needs to know. served: digests that rollouts name."""
    return Task(
        stage=stage,
        attempt=attempt,
        job=JobRef(namespace=job.namespace, name=job.name, uid=job.uid),
        spec=spec,
        workspace=_workspace(job, spec),
        label_cache=_label_cache(spec) if stage in needs.USES_CACHE else None,
        threads=resources.threads(spec, stage),
        cpus=resources.cores(spec, stage),
        gpus=resources.gpus(spec, stage),
        max_attempts=spec.retries + 1,
        served=(list(served) or None) if stage is Stage.PUBLISH else None,
    )


def workspace_uri(job: ObservedJob, spec: DistillationJobSpec) -> str:
    """Return where the stages leave their results, as people outside the pods name it."""
    claimed = workspace_claim(job, spec)
    return f"pvc://{claimed}/{job.uid}" if claimed else _workspace(job, spec)


def workspace_claim(job: ObservedJob, spec: DistillationJobSpec) -> str | None:
    """Return the claim mounted as the workspace; None for one in an object store."""
    if spec.workspace.uri:
        return None
    return spec.workspace.claim_name or naming.workspace_claim(job)


def cache_claim(spec: DistillationJobSpec) -> str | None:
    """Return the claim mounted as the label cache; None where labels lie elsewhere."""
    wanted = spec.workspace.label_cache
    if wanted.disabled or wanted.uri:
        return None
    if wanted.claim_name:
        return wanted.claim_name
    return None if spec.workspace.uri else claim.LABEL_CACHE


def _workspace(job: ObservedJob, spec: DistillationJobSpec) -> str:
    if spec.workspace.uri:
        return f"{spec.workspace.uri.rstrip('/')}/{job.uid}"
    return f"file://{wire.WORKSPACE_DIR}/{job.uid}"


def _label_cache(spec: DistillationJobSpec) -> str | None:
    wanted = spec.workspace.label_cache
    if wanted.disabled:
        return None
    if wanted.uri:
        return wanted.uri
    if cache_claim(spec):
        return f"file://{wire.CACHE_DIR}"
    # A job that works in an object store may run where no volumes are to be had.
    return f"{(spec.workspace.uri or '').rstrip('/')}/labels"
