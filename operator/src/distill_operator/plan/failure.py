"""Why a pod or a Job failed: a reason for programs, a sentence for people."""

from dataclasses import dataclass

from distill_api.job import DistillationJobSpec
from distill_api.names import Exit, Reason, Stage
from distill_api.wire import Report

from distill_operator.plan import report, text, together
from distill_operator.plan.model import ObservedPod, ObservedStageJob
from distill_operator.render import gang, resources


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, with what to do."""

    reason: Reason
    message: str


def of_pod(pod: ObservedPod, spec: DistillationJobSpec) -> Trouble:
    """Say why a pod failed: by its report, else by how it ended."""
    told = report.read(pod)
    if pod.exit_reason == "OOMKilled" and not report.peer_lost(pod):
        return _out_of_memory(pod, spec)  # a report can only guess that a process was killed
    if told is not None and told.failure is not None:
        return Trouble(told.failure.reason, told.failure.message)
    if pod.disrupted or pod.exit_reason == "Evicted":
        return _evicted(pod)
    return _crashed(pod)


def of_job(
    job: ObservedStageJob, pods: tuple[ObservedPod, ...], spec: DistillationJobSpec
) -> Trouble:
    """Say why a Job failed for good.

    pods: those of this Job. Without a failed one, the Job's own words.
    """
    assert job.failure is not None
    why, words = job.failure
    if why == "DeadlineExceeded":
        return _deadline(job.stage, spec)
    found = of_pods(pods, spec)
    if found is None:
        message = f"{job.stage} failed ({words}) and its pods are gone: look for logs of {job.name}"
        return Trouble(Reason.CRASHED, message)
    if why == "PodFailurePolicy":
        return found
    alone = gang.pods(spec, job.stage) == 1
    tries = max(job.failed if alone else together.tries(pods), 1)
    return Trouble(found.reason, f"{found.message} (tried {tries} times)")


def of_pods(pods: tuple[ObservedPod, ...], spec: DistillationJobSpec) -> Trouble | None:
    """Say why the pods of a stage failed last: by the one that failed first of them."""
    first = together.culprit(pods)
    if first is None:
        return None
    found = of_pod(first, spec)
    if gang.pods(spec, first.stage) == 1 or found.message.startswith("Pod "):
        return found
    where = f" on node {first.node}" if first.node else ""
    return Trouble(found.reason, f"Pod {first.name}{where} failed first: {found.message}")


def skipped(stage: Stage, spec: DistillationJobSpec, why: Trouble) -> Trouble:
    """Say that a stage is left out, as its pod could not start."""
    asked = spec.export.tensor_rt if spec.export is not None else None
    assert asked is not None, "only the engine is ever left out"
    resource = spec.pod_template.gpu_resource
    message = (
        f"{stage} was left out after {asked.wait_seconds} s, and the student has no TensorRT"
        f" engine. {why.message}. For an engine, add a node with {asked.gpus} {resource} and create"
        " the job anew; the stages before are reused where the workspace is yours"
    )
    return Trouble(why.reason, message)


def leaving(pod: ObservedPod) -> Trouble:
    """Say that a pod is being removed and that its replacement waits for its end."""
    where = f" on node {pod.node}" if pod.node else ""
    message = (
        f"Pod {pod.name} of {pod.stage}{where} is being removed; another one starts when it has"
        " ended. If the node is lost for good, delete its Node object"
    )
    return Trouble(Reason.EVICTED, message)


def vanished(job: ObservedStageJob) -> Trouble | None:
    """Say that a pod failed and is gone, which is what deleting one looks like."""
    if not job.failed:
        return None
    message = f"A pod of {job.stage} ended early and is gone: it was deleted, or its node was"
    return Trouble(Reason.EVICTED, message)


def unreadable(pod: ObservedPod, told: Report | None) -> Trouble:
    """Say that a pod ended well without a report that can be read."""
    what = "no report" if told is None else f"a report of outcome {told.outcome}"
    message = (
        f"Pod {pod.name} of {pod.stage} ended with status 0 but left {what}: the image must be a"
        " kubedistill trainer of the operator's version. Set podTemplate.image, or remove it to"
        " use the operator's own"
    )
    return Trouble(Reason.REPORT_LOST, message)


def _out_of_memory(pod: ObservedPod, spec: DistillationJobSpec) -> Trouble:
    limit = resources.of_stage(spec, pod.stage).limits.memory or "the node's memory"
    smaller = {
        Stage.LABEL: "teacher.batchSize",
        Stage.TRAIN: "training.microBatchSize",
        Stage.EVALUATE: "evaluation.throughputBatchSize",
    }.get(pod.stage)
    lower = f", or lower {smaller} in a new job" if smaller else ""
    message = (
        f"Pod {pod.name} of {pod.stage} was killed for lack of memory at its limit of {limit}:"
        f" raise podTemplate.stageResources.{pod.stage.lower()}.limits.memory{lower}"
    )
    return Trouble(Reason.OUT_OF_MEMORY, message)


def _evicted(pod: ObservedPod) -> Trouble:
    where = f" from node {pod.node}" if pod.node else ""
    why = pod.termination_message or "eviction, preemption or a lost node"
    counts = "; this does not count as a try" if pod.disrupted else ""
    message = f"Pod {pod.name} of {pod.stage} was taken{where} ({text.last_lines(why)}){counts}"
    return Trouble(Reason.EVICTED, message)


def _crashed(pod: ObservedPod) -> Trouble:
    code = "an unknown status" if pod.exit_code is None else f"status {pod.exit_code}"
    message = f"Pod {pod.name} of {pod.stage} ended with {code}"
    if pod.exit_code == 128 + 9:
        message += " (killed)"
    if pod.exit_code in (Exit.TRY_AGAIN, Exit.GIVE_UP) and not pod.termination_message:
        message += " and left no report"
    if pod.termination_message:
        message += f". Its last words:\n{text.last_lines(pod.termination_message)}"
    return Trouble(Reason.CRASHED, message)


def _deadline(stage: Stage, spec: DistillationJobSpec) -> Trouble:
    message = (
        f"{stage} took longer than stageDeadlineSeconds ({spec.stage_deadline_seconds}): raise it"
        " or give the stage more resources; what is complete, and the last checkpoint, is kept"
    )
    return Trouble(Reason.DEADLINE_EXCEEDED, message)
