"""What each reason of a condition or event means, and what a person should do about it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from distill_api.names import Reason


class Meaning(NamedTuple):
    """A reason explained."""

    happened: str
    """What happened."""
    to_do: str
    """What a person should do."""


_NOTHING: Final = "Nothing."
_AFTER: Final = "The recipe is fixed, so create a new DistillationJob with the change."

MEANINGS: Final[Mapping[Reason, Meaning]] = {
    Reason.ACCEPTED: Meaning("The operator has seen the job and has not started it yet.", _NOTHING),
    Reason.RUNNING: Meaning("A stage is under way.", _NOTHING),
    Reason.SUCCEEDED: Meaning(
        "Every stage is complete and the student is published.",
        "Read `status.artifact`, `status.evaluation` and the open items of `status.checklist`.",
    ),
    Reason.SUSPENDED: Meaning(
        "`spec.suspend` is true: no pod runs, and what is complete is kept.",
        "Set `spec.suspend` to false to go on.",
    ),
    Reason.QUEUED: Meaning(
        "Kueue has not admitted the stage yet.",
        "Wait, or look at the LocalQueue of `spec.queueName` and its quota.",
    ),
    Reason.RESUMED: Meaning("The job goes on after a suspension.", _NOTHING),
    Reason.STAGE_STARTED: Meaning("A stage's Job was made.", _NOTHING),
    Reason.STAGE_COMPLETE: Meaning("A stage left its complete result.", _NOTHING),
    Reason.STAGE_REUSED: Meaning(
        "A complete result with the same fingerprint was there and was used.", _NOTHING
    ),
    Reason.STAGE_RETRYING: Meaning(
        "A stage failed in a way that may pass and is tried again.",
        "Nothing; look at the stage's `message` if it repeats.",
    ),
    Reason.STAGE_SKIPPED: Meaning(
        "A stage that can be left out was: its pod found no node, or no image, for as long as it"
        " may wait.",
        "Nothing, or add what the message names and create the job anew.",
    ),
    Reason.INVALID_SPEC: Meaning(
        "The stored object is not valid for this operator, for example after a downgrade.",
        "Change what the message names, or run the operator that the object was made for.",
    ),
    Reason.BAD_DATA: Meaning(
        "The data can be read but not learnt from: no records, missing columns, too few groups.",
        f"Correct the data or `spec.data` as the message says. {_AFTER}",
    ),
    Reason.DATA_UNREACHABLE: Meaning(
        "The data cannot be read: nothing there, no permission, or no connection.",
        f"Check `spec.data.source.uri`, its Secret and the network. {_AFTER}",
    ),
    Reason.TEACHER_UNREACHABLE: Meaning(
        "The teacher's weights or endpoint cannot be reached, or its token budget is used up.",
        f"Check `spec.teacher`, its Secret and the network. {_AFTER}",
    ),
    Reason.BAD_MODEL: Meaning(
        "A model can be read but not used: no safetensors, no tokenizer, an unknown architecture,"
        " or layers that it does not have.",
        f"Name another model, or convert it to safetensors. {_AFTER}",
    ),
    Reason.BAD_RECIPE: Meaning(
        "The recipe cannot work with this teacher, student or data.",
        f"Change what the message names. {_AFTER}",
    ),
    Reason.SECRET_MISSING: Meaning(
        "A Secret that the recipe names is not there, or lacks a key.",
        "Create the Secret in the job's namespace; a waiting stage then goes on by itself.",
    ),
    Reason.REGISTRY_UNREACHABLE: Meaning(
        "A registry or object store refuses or does not answer when the student is published.",
        "Check the address, `plainHttp`, the Secret and the network; results so far are kept.",
    ),
    Reason.VOLUME_FULL: Meaning(
        "The workspace has no space left.",
        "Raise `spec.workspace.size` in a new job, grow the claim, or free space on it.",
    ),
    Reason.OUT_OF_MEMORY: Meaning(
        "A pod needed more memory than its limit.",
        "Raise `spec.podTemplate.resources.limits.memory`, or lower the batch size in a new job.",
    ),
    Reason.IMAGE_PULL_FAILED: Meaning(
        "The node cannot pull the trainer image.",
        "Check `spec.podTemplate.image` and `imagePullSecrets`.",
    ),
    Reason.UNSCHEDULABLE: Meaning(
        "No node has room for the pod, or fits its selector and tolerations.",
        "Lower `spec.podTemplate.resources`, correct the selector, or add a node.",
    ),
    Reason.VOLUME_UNAVAILABLE: Meaning(
        "A claim that the pod mounts is missing, not bound, or cannot be mounted on its node.",
        "Create the claim, or check its StorageClass and access mode.",
    ),
    Reason.EVICTED: Meaning(
        "The node drove the pod away, for example by drain or lack of disk.",
        "Nothing: such losses do not count as retries.",
    ),
    Reason.DEADLINE_EXCEEDED: Meaning(
        "A stage ran longer than `spec.stageDeadlineSeconds`.",
        "Raise the deadline in a new job, which takes over the labels made so far.",
    ),
    Reason.TRAINING_DIVERGED: Meaning(
        "The loss became infinite or not a number.",
        f"Lower `spec.training.optimizer.learningRate` or use Float32. {_AFTER}",
    ),
    Reason.QUALITY_GATE_FAILED: Meaning(
        "The student missed a gate of `spec.evaluation`, so nothing was published.",
        "Read `status.evaluation.explanation`; train longer, keep more layers, or lower the gate"
        " in a new job.",
    ),
    Reason.PUBLISHED: Meaning(
        "An entry of `spec.publish` has the student, whole and checked.",
        "Nothing.",
    ),
    Reason.PUBLICATION_FAILED: Meaning(
        "An entry of `spec.publish` could not get the student; the others got it.",
        "Read the message. What is published stays; the stage sends only what is missing.",
    ),
    Reason.CRASHED: Meaning(
        "A stage ended without a report; the message has the last lines of its log.",
        "Read the log. If it is not your data or model, report it as a defect.",
    ),
    Reason.PEER_LOST: Meaning(
        "A pod of a stage of several ended because another one was lost. All of them start again"
        " from the last complete checkpoint.",
        "Nothing; the stage's `message` names the pod that failed first, and why.",
    ),
    Reason.REPORT_LOST: Meaning(
        "A stage ended well, but its pod is gone with its report.",
        "Nothing: the stage is asked again and answers from its complete result.",
    ),
    Reason.CHILD_REFUSED: Meaning(
        "The API server refused an object that the operator wanted to make, for example by quota"
        " or an admission policy.",
        "Read the message; change the quota, the policy or `spec.podTemplate`.",
    ),
    Reason.EXPIRED: Meaning(
        "The job finished longer ago than `spec.ttlSecondsAfterFinished` and is deleted.",
        "Nothing: what was published stays.",
    ),
}
