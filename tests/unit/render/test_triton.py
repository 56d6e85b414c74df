"""A Triton pod: the repository is the artifact's, and no request is lost when it goes."""

from dataclasses import replace
from typing import Any, Final

import pytest
from distill_api.rollout_arms import Runtime, ServingDeployment
from distill_operator.render.order import Owner
from distill_operator.render.rollout import arm
from distill_operator.render.rollout.order import ArmOrder, Model

ORDER: Final = ArmOrder(
    owner=Owner("team", "search", "u"),
    arm="student",
    name="search-student",
    revision="r1",
    deployment=ServingDeployment(runtime=Runtime.TRITON, image="triton:1", drain_seconds=15),
    image="triton:1",
    model=Model(reference="registry/students@sha256:1"),
    served_name="search",
    replicas=1,
    fetch_image="server:1",
)


def pod(order: ArmOrder) -> Any:
    return arm.deployment(order)["spec"]["template"]["spec"]


def test_the_student_is_mounted_under_the_name_that_clients_ask_for() -> None:
    (server,) = pod(ORDER)["containers"]
    assert server["args"] == [
        "tritonserver",
        "--model-repository=/artifact/models/triton",
        "--model-repository=/repository",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--http-port=8000",
        "--metrics-port=8002",
        "--exit-timeout-secs=40",
    ]
    mounts = {one["mountPath"]: one.get("subPath") for one in server["volumeMounts"]}
    assert mounts == {
        "/scratch": None,
        "/artifact": None,
        "/repository/search": "models/triton/student",
        "/repository/search__probe": "models/triton/student__probe",
        "/tmp": None,  # noqa: S108 - in the pod
        "/dev/shm": None,  # noqa: S108 - in the pod
    }


@pytest.mark.parametrize(
    ("model", "path", "part"),
    [
        (Model(claim="c", path="students/1"), "/artifact/students/1/triton", "students/1/triton"),
        (Model(claim="c"), "/artifact/triton", "triton"),
    ],
)
def test_a_claim_holds_the_repository_where_the_student_lies(
    model: Model, path: str, part: str
) -> None:
    (server,) = pod(replace(ORDER, model=model))["containers"]
    assert server["args"][1] == f"--model-repository={path}"
    parts = [one["subPath"] for one in server["volumeMounts"] if "subPath" in one]
    assert parts == [f"{part}/student", f"{part}/student__probe"]


def test_a_student_that_is_called_so_needs_no_second_name() -> None:
    (server,) = pod(replace(ORDER, served_name="student"))["containers"]
    assert "--model-repository=/repository" not in server["args"]
    assert not [one for one in server["volumeMounts"] if "subPath" in one]


def test_it_serves_on_until_gateways_know_and_then_ends_what_it_has_begun() -> None:
    made = pod(ORDER)
    (server,) = made["containers"]
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert made["terminationGracePeriodSeconds"] == 60
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    memory = next(one for one in made["volumes"] if one["name"] == "shared-memory")
    assert memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}


def test_an_artifact_is_copied_by_our_own_program_where_image_volumes_are_not_known() -> None:
    (fetcher,) = pod(replace(ORDER, image_volumes=False))["initContainers"]
    assert fetcher["image"] == "server:1"
    assert fetcher["command"] == ["python", "-m", "distill_server.fetch"]
