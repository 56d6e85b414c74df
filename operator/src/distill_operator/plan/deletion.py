"""What happens while a job is deleted: an external workspace is removed, nothing else is touched.

Children go by owner reference. Only what lies outside the cluster needs us, and so the finalizer.
"""

from distill_api.names import FINALIZER, Reason, Stage

from distill_operator.plan import again, children, failure, look, naming, task, text
from distill_operator.plan.model import News, Observed, ObservedStageJob, Plan, Settings
from distill_operator.render import job


def plan(seen: Observed, settings: Settings) -> Plan:
    """Hold the finalizer until the workspace is gone, or until it is clear that it stays."""
    if FINALIZER not in seen.job.finalizers or not external(seen):
        return Plan(children=children.unchanged(seen), status=seen.job.status)
    cleanup = next((job for job in seen.stage_jobs if job.stage is Stage.CLEANUP), None)
    news = _stuck(seen, cleanup)
    if news is not None or (cleanup is not None and cleanup.complete):
        told = () if news is None else (news,)
        return Plan(children=children.unchanged(seen), status=seen.job.status, news=told)
    return _clean(seen, settings, cleanup)


def external(seen: Observed) -> bool:
    """Tell whether the workspace lies outside the cluster; an unreadable spec names none."""
    return seen.job.spec is not None and seen.job.spec.workspace.uri is not None


def _clean(seen: Observed, settings: Settings, cleanup: ObservedStageJob | None) -> Plan:
    # Whatever still writes to the workspace is stopped first: its Job is not wanted any more.
    wanted = list(children.at_rest(seen))
    if cleanup is not None:
        wanted.append(job.identity(seen.job.namespace, cleanup.name, suspend=False))
    elif look.at_work(seen) is None:
        wanted.append(children.stage_job(seen, settings, Stage.CLEANUP, 0))
    return Plan(
        children=tuple(wanted),
        status=seen.job.status,
        finalizers=(FINALIZER,),
        look_again=again.NOT_STARTED,
    )


def _stuck(seen: Observed, cleanup: ObservedStageJob | None) -> News | None:
    """Return the warning that a workspace stays; a deletion must not hang for ever."""
    assert seen.job.spec is not None
    if cleanup is not None and cleanup.failure is not None:
        pods = tuple(pod for pod in seen.pods if pod.stage is Stage.CLEANUP)
        trouble = failure.of_job(cleanup, pods, seen.job.spec)
    elif refusal := _refusal(seen):
        trouble = failure.Trouble(Reason.CHILD_REFUSED, refusal)
    else:
        return None
    where = task.workspace_uri(seen.job, seen.job.spec)
    message = f"The workspace {where} was not removed: {trouble.message}. Remove it by hand"
    return News("Warning", trouble.reason, text.cut(message, text.NOTE))


def _refusal(seen: Observed) -> str | None:
    """Return why the API server takes no Cleanup Job: as a rule, the namespace is going too."""
    name = naming.stage_job(seen.job, Stage.CLEANUP, 0)
    return next((child.message for child in seen.refused if child.name == name), None)
