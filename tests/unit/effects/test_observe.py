"""JSON of the API server becomes observations without judgement."""

from datetime import UTC, datetime

import pytest
from distill_api.names import Stage
from distill_api.status import JobStatus
from distill_operator.effects import observe
from distill_operator.plan.model import Manifest

LABELS = {"kubedistill.io/stage": "Train", "kubedistill.io/attempt": "2"}
MADE = "2026-01-02T03:04:05Z"


def a_pod(status: Manifest, **meta: object) -> Manifest:
    metadata = {"name": "p", "uid": "u", "creationTimestamp": MADE, "labels": LABELS} | meta
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}


def ended(code: int, **more: object) -> Manifest:
    state = {"exitCode": code, "finishedAt": "2026-01-02T03:09:05Z", "startedAt": MADE} | more
    return {"containerStatuses": [{"name": "trainer", "state": {"terminated": state}}]}


def test_a_finished_pod_tells_its_exit_code_times_and_last_words() -> None:
    seen = observe.pod(a_pod({"phase": "Failed"} | ended(78, reason="Error", message="bad rows")))

    assert seen is not None
    assert (seen.stage, seen.attempt) == (Stage.TRAIN, 2)
    assert (seen.exit_code, seen.exit_reason) == (78, "Error")
    assert seen.termination_message == "bad rows"
    assert seen.started == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert seen.finished == datetime(2026, 1, 2, 3, 9, 5, tzinfo=UTC)


def test_an_evicted_pods_own_reason_explains_its_container() -> None:
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}

    seen = observe.pod(a_pod(status | ended(137, reason="Error", message="step 5")))

    assert seen is not None
    assert seen.exit_reason == "Evicted"
    assert seen.termination_message == "The node was low on memory."


def test_a_sidecars_state_is_not_taken_for_the_trainers() -> None:
    sidecar = {"name": "istio", "state": {"terminated": {"exitCode": 1}}}
    status = ended(0, reason="Completed")
    status["containerStatuses"].insert(0, sidecar)

    seen = observe.pod(a_pod(status))

    assert seen is not None
    assert seen.exit_code == 0


def test_a_sidecar_that_is_started_anew_is_no_end_of_the_pod() -> None:
    killed = {"name": "vllm", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    working = {"name": "trainer", "state": {"running": {"startedAt": MADE}}}
    status = {"initContainerStatuses": [killed], "containerStatuses": [working]}

    seen = observe.pod(a_pod({"phase": "Running"} | status))

    assert seen is not None
    assert (seen.exit_code, seen.exit_reason) == (None, None)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("ImagePullBackOff", ("ImagePullBackOff", "no such image")),
        ("CreateContainerConfigError", ("CreateContainerConfigError", "no such image")),
        ("ContainerCreating", None),
        ("PodInitializing", None),
    ],
)
def test_a_container_that_cannot_start_says_why(
    reason: str, expected: tuple[str, str] | None
) -> None:
    waiting = {"waiting": {"reason": reason, "message": "no such image"}}
    status = {"phase": "Pending", "containerStatuses": [{"name": "trainer", "state": waiting}]}

    seen = observe.pod(a_pod(status))

    assert seen is not None
    assert seen.waiting == expected


def test_the_schedulers_message_is_kept_while_a_pod_has_no_node() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available",
    }

    seen = observe.pod(a_pod({"phase": "Pending", "conditions": [condition]}))

    assert seen is not None
    assert seen.unschedulable == "0/1 nodes are available"


@pytest.mark.parametrize("labels", [{}, LABELS | {"kubedistill.io/stage": "Dance"}, None])
def test_a_pod_with_labels_of_another_kind_is_not_ours(labels: dict[str, str] | None) -> None:
    assert observe.pod(a_pod({}, labels=labels)) is None


def a_job(status: Manifest, **spec: object) -> Manifest:
    annotations = {"kubedistill.io/settings-digest": "abc"}
    meta = {"name": "j", "uid": "u", "creationTimestamp": MADE, "labels": LABELS}
    return {"metadata": meta | {"annotations": annotations}, "spec": spec, "status": status}


def test_a_failed_job_tells_reason_message_and_time() -> None:
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "PodFailurePolicy",
        "message": "exit code 78",
        "lastTransitionTime": "2026-01-02T03:09:05Z",
    }

    seen = observe.stage_job(a_job({"failed": 1, "conditions": [failed]}))

    assert seen is not None
    assert seen.failure == ("PodFailurePolicy", "exit code 78")
    assert seen.finished == datetime(2026, 1, 2, 3, 9, 5, tzinfo=UTC)
    assert (seen.complete, seen.failed, seen.settings_digest) == (False, 1, "abc")


def test_a_job_that_is_only_about_to_fail_is_not_finished() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}

    seen = observe.stage_job(a_job({"conditions": [target]}, suspend=True))

    assert seen is not None
    assert (seen.failure, seen.finished, seen.suspended) == (None, None, True)


def test_a_spec_that_cannot_be_read_is_explained_field_by_field() -> None:
    meta = {"namespace": "n", "name": "j", "uid": "u", "resourceVersion": "1"}
    body = {"metadata": meta | {"creationTimestamp": MADE}, "spec": {"component": "Piano"}}

    seen = observe.job(body)

    assert seen.spec is None
    assert seen.spec_error is not None
    assert "spec.component" in seen.spec_error


def test_an_unreadable_status_counts_as_empty() -> None:
    assert observe.status(JobStatus, {"phase": 7, "colour": "red"}) == observe.status(
        JobStatus, None
    )


def test_a_claim_is_owned_by_the_job_that_its_reference_names() -> None:
    body = {"metadata": {"name": "c", "ownerReferences": [{"uid": "mine"}]}, "status": {}}

    assert observe.claim(body, "mine").owned
    assert not observe.claim(body, "other").owned


def test_only_pods_with_a_node_and_without_a_started_container_are_unstarted() -> None:
    pending = a_pod({"phase": "Pending"})
    homeless = a_pod({"phase": "Pending"}) | {"spec": {}}
    running = a_pod({"phase": "Running"})

    assert observe.unstarted([pending, homeless, running]) == [pending]
