"""What each reason of a rollout's condition or event means, and what to do about it."""

from collections.abc import Mapping
from typing import Final

from distill_api.names import RolloutReason
from distill_api.reasons import Meaning

_NOTHING: Final = "Nothing."
_AFTER: Final = "Then change the student, or set `spec.retry` to a new value to try the same again."

ROLLOUT_MEANINGS: Final[Mapping[RolloutReason, Meaning]] = {
    RolloutReason.DELETED: Meaning(
        "The rollout is deleted and hands its traffic over by `spec.deletionPolicy`.", _NOTHING
    ),
    RolloutReason.ABORTED: Meaning(
        "`spec.abort` is true: all traffic goes to the teacher.",
        "Set `spec.abort` to false and `spec.retry` to a new value to begin again.",
    ),
    RolloutReason.BROKEN: Meaning(
        "What the spec refers to can never be used: the job failed, the digest is not there, or the"
        " route's rule belongs to another rollout.",
        "Change what the message names.",
    ),
    RolloutReason.CHANGED: Meaning(
        "Student or teacher were changed, so what was measured says nothing about them.",
        "Nothing: the rollout begins anew by itself.",
    ),
    RolloutReason.CRASHED: Meaning(
        "The student had no ready pod for longer than `spec.schedule.crashLoopGraceSeconds`, or"
        " its container ends again and again.",
        f"Read the message and the pods' logs. {_AFTER}",
    ),
    RolloutReason.REGRESSED: Meaning(
        "A metric is beyond its limit; the message has counts, interval and limit.",
        f"Read `status.metrics`. {_AFTER}",
    ),
    RolloutReason.OUTAGE: Meaning(
        "A critical metric had no numbers for longer than `spec.policies.noDataAfterSeconds`, and"
        " `noData` is Rollback.",
        f"Bring the metrics back. {_AFTER}",
    ),
    RolloutReason.OVERDUE: Meaning(
        "Nothing moved within `spec.schedule.progressDeadlineSeconds`, or a step was undecided for"
        " longer than `maxSoakSeconds` and `spec.policies.undecided` is Rollback.",
        f"Read what the message waited for. {_AFTER}",
    ),
    RolloutReason.RENEWED: Meaning("The old student has no traffic; the new one begins.", _NOTHING),
    RolloutReason.RETURNED: Meaning(
        "The student has no traffic any more, verified on the gateway.",
        "Read why in `status.history`.",
    ),
    RolloutReason.RETRIED: Meaning(
        "`spec.retry` has a new value: the rollout begins again with fresh evidence.", _NOTHING
    ),
    RolloutReason.REPAIRED: Meaning("What could not be used was changed.", _NOTHING),
    RolloutReason.OVERRIDDEN: Meaning("`spec.promote` let a step pass.", _NOTHING),
    RolloutReason.PASSED: Meaning("`spec.promote` let the last step pass.", _NOTHING),
    RolloutReason.HELD: Meaning(
        "A person or a policy asked to wait: `spec.paused`, a manual gate, a metric with"
        " onRegression Pause, or foreign weights.",
        "Do what the message says, for example set `spec.promote` to the number of the step.",
    ),
    RolloutReason.RESUMED: Meaning("Nothing asks to wait any more.", _NOTHING),
    RolloutReason.ACCEPTED: Meaning(
        "The artifact is known; both arms are prepared without traffic for the student.", _NOTHING
    ),
    RolloutReason.PREPARED: Meaning(
        "Both arms are ready and the gateways carry the route: the first step begins.", _NOTHING
    ),
    RolloutReason.STEP_DONE: Meaning(
        "A step had its time and requests, and nothing was found against the student.", _NOTHING
    ),
    RolloutReason.LAST_STEP_DONE: Meaning("The last step is done and healthy.", _NOTHING),
    RolloutReason.SETTLED: Meaning(
        "The student is promoted; the teacher is kept for `spec.teacherRetention`.", _NOTHING
    ),
    RolloutReason.RETAINED: Meaning(
        "The teacher was kept long enough and is let go; the student serves alone.", _NOTHING
    ),
    RolloutReason.WAITING: Meaning(
        "The operator has seen the rollout and waits for what it refers to.",
        "Read the message: the job may not have published its student yet.",
    ),
    RolloutReason.INVALID_SPEC: Meaning(
        "The stored object is not valid for this operator, for example after a downgrade.",
        "Change what the message names, or run the operator that the object was made for.",
    ),
    RolloutReason.CHILD_REFUSED: Meaning(
        "The API server refused an object that the operator wanted to make or change.",
        "Read the message; change the quota, the policy, the operator's rights or the pods.",
    ),
    RolloutReason.MEASURED: Meaning("Every critical metric has numbers.", _NOTHING),
    RolloutReason.NOT_MEASURED: Meaning(
        "Nothing is measured at present, as the student has no traffic.", _NOTHING
    ),
    RolloutReason.NO_DATA: Meaning(
        "A critical metric has no numbers. Nothing is promoted and nobody is blamed meanwhile.",
        "Read the message: pods that do not answer, a histogram without the bucket, an old sample,"
        " or a query that is empty.",
    ),
    RolloutReason.CARRIED: Meaning("Every gateway carries the route as it is written.", _NOTHING),
    RolloutReason.NOT_CARRIED: Meaning(
        "A gateway does not accept the route, cannot resolve its backends, or has not seen the"
        " latest change.",
        "Read the message; look at the Gateway's listeners and allowed routes.",
    ),
    RolloutReason.NOT_FOUND: Meaning(
        "There is no route of that name, or it has no such rule or not both Services as backends.",
        "Correct the HTTPRoute, or `spec.gateway` in a new rollout.",
    ),
    RolloutReason.VERIFIED: Meaning(
        "The weight is what was decided and each side with traffic answers.", _NOTHING
    ),
    RolloutReason.NOT_VERIFIED: Meaning(
        "The weight is not verified yet, so the step's time does not count.",
        "Nothing, unless it lasts: the message says what it waits for.",
    ),
    RolloutReason.ARM_READY: Meaning("The teacher can take requests.", _NOTHING),
    RolloutReason.NOT_READY: Meaning(
        "The teacher has no ready endpoint, so traffic could not go back to it.",
        "Bring the teacher back at once.",
    ),
    RolloutReason.LET_GO: Meaning("The teacher was kept long enough and let go.", _NOTHING),
    RolloutReason.APPLIED: Meaning(
        "The API server took every object that the rollout needs.", _NOTHING
    ),
    RolloutReason.FOREIGN_WEIGHTS: Meaning(
        "Somebody else wrote the two weights and they are left so.",
        "Put them back, or change the rollout; tell GitOps to ignore the two weights.",
    ),
    RolloutReason.WEIGHTS_RESTORED: Meaning(
        "Somebody else wrote the two weights and they were written again.",
        "Find out who does; the message names the field manager.",
    ),
    RolloutReason.NO_CONFLICT: Meaning("Nobody else writes the weights.", _NOTHING),
    RolloutReason.NO_ROLLBACK: Meaning("No rollback is stuck.", _NOTHING),
    RolloutReason.UNDER_WAY: Meaning("A rollback is under way.", _NOTHING),
    RolloutReason.STUCK: Meaning(
        "A rollback does not come about: the route cannot be written or no gateway takes it over.",
        "Act now: the message says who refuses. Give the teacher its weight by hand if need be.",
    ),
    RolloutReason.WARNING: Meaning(
        "A metric is worth a warning; no traffic moves for it.", "Read `status.metrics`."
    ),
    RolloutReason.TOKENS_ALIKE: Meaning(
        "Every pod of the student reads sample texts token by token as in training.", _NOTHING
    ),
    RolloutReason.TOKENS_DIFFER: Meaning(
        "A pod of the student makes other tokens of a text than training did, so it is not the"
        " model that was evaluated. The student gets no further traffic, `spec.promote` or not.",
        "Read both sequences in the message: prompts, special tokens or the longest input differ."
        " Serve the published artifact with the server of the same release, or train anew.",
    ),
    RolloutReason.TOKENS_UNCHECKED: Meaning(
        "There is nothing to compare with: the artifact is older or foreign and holds no"
        " `token_ids.json`, or another runtime serves it. Nothing waits for it.",
        "Nothing; train with this release to have it checked.",
    ),
    RolloutReason.TOKENS_UNKNOWN: Meaning(
        "The student's pods were not asked for their tokens yet, or do not answer. The last step"
        " waits for it.",
        "Nothing, unless it lasts: the message says which pod does not answer. `spec.promote` lets"
        " the step pass all the same.",
    ),
}
