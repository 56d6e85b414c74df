"""Who may stop a stage's Job: the user through us, or Kueue without us."""

from distill_api.job import DistillationJobSpec

from distill_operator.plan.model import ObservedStageJob


def at_creation(spec: DistillationJobSpec) -> bool:
    """Return spec.suspend of a new Job: Kueue wants to be the one who starts it."""
    return spec.queue_name is not None


def of_existing(spec: DistillationJobSpec, job: ObservedStageJob) -> bool:
    """Return spec.suspend of a Job that runs on: the user's word, else in a queue Kueue's."""
    return spec.suspend or (spec.queue_name is not None and job.suspended)


def by_removal(spec: DistillationJobSpec) -> bool:
    """Tell whether the user's suspend removes the Job instead of suspending it.

    Kueue starts a suspended Job again as long as its Workload is admitted. Without its Job the
    quota is free, and the Job that is made on resuming queues anew.
    """
    return spec.suspend and spec.queue_name is not None
