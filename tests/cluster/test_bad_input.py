"""Bad input ends in a condition that says what to do; tried again only where that can help."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import story
from devcluster import Cluster
from kubernetes import client
from operators import eventually
from story import Story

RETRIES = 1
END_SECONDS = 900.0
NOWHERE = f"{story.HOST}:9"
"""A port of ours where nobody listens."""
pytestmark = [
    pytest.mark.usefixtures("crd"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


@dataclass(frozen=True)
class Case:
    """One mistake, and what the user is told about it."""

    name: str
    reason: str
    sentence: str
    tries: int
    """Pods that the failed stage had."""
    change: dict[str, Any] = field(default_factory=dict)
    """Changes of the spec: paths with dots, and `{base}` for the file server."""


ONCE, AGAIN = 1, RETRIES + 1
CASES = [
    Case(
        "missing-data",
        "DataUnreachable",
        "was not found",
        ONCE,
        {"data.source.uri": "{base}/absent.jsonl"},
    ),
    Case("three-rows", "BadData", "too few", ONCE, {"data.source.uri": "{base}/three.jsonl"}),
    Case(
        "duplicates",
        "BadData",
        "149 of them repeat another one",
        ONCE,
        {"data.source.uri": "{base}/same.jsonl"},
    ),
    Case(
        "no-json", "BadData", "noise.jsonl line 1", ONCE, {"data.source.uri": "{base}/noise.jsonl"}
    ),
    Case(
        "absent-teacher",
        "TeacherUnreachable",
        "was not found",
        ONCE,
        {"teacher.model.uri": "{base}/absent.tar.gz"},
    ),
    Case("pickle", "BadModel", "pickle", ONCE, {"teacher.model.uri": "{base}/pickled.tar.gz"}),
    Case(
        "unreachable-teacher",
        "TeacherUnreachable",
        "could not be reached",
        AGAIN,
        {"teacher.model": {"uri": f"oci://{NOWHERE}/teachers/none:1", "plainHttp": True}},
    ),
    Case(
        "unreachable-registry",
        "RegistryUnreachable",
        NOWHERE,
        AGAIN,
        {"publish": [{"oci": {"repository": f"{NOWHERE}/models/small", "plainHttp": True}}]},
    ),
    Case(
        "wrong-secret",
        "SecretMissing",
        "no-such-secret",
        AGAIN,
        {"teacher.model.secretRef": {"name": "no-such-secret"}},
    ),
    Case(
        "full-volume",
        "VolumeFull",
        "full",
        AGAIN,
        {"workspace": {"claimName": "full", "labelCache": {"disabled": True}}},
    ),
]


def changed(spec: dict[str, Any], change: dict[str, Any], base: str) -> dict[str, Any]:
    """Return the spec with values set at their paths."""
    for path, value in change.items():
        *parents, last = path.split(".")
        place = spec
        for parent in parents:
            place = place[parent]
        place[last] = value.format(base=base) if isinstance(value, str) else value
    return spec


FILL = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "fill"},
    "spec": {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsUser": 65532,
            "fsGroup": 65532,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "fill",
                "image": "localhost/kubedistill/busybox:1",
                "args": ["-c", "dd if=/dev/zero of=/full/ballast bs=64k || true"],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "full", "mountPath": "/full"}],
            }
        ],
        "volumes": [{"name": "full", "persistentVolumeClaim": {"claimName": "full"}}],
    },
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "full"},
    "spec": {
        "storageClassName": "small-disk",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "32Mi"}},
    },
}


@pytest.fixture(scope="module")
def ended(
    cluster: Cluster,
    api: client.ApiClient,
    shared_space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Story]]:
    """Yield all jobs after their end; they run side by side, as each is mostly start-up."""
    if cluster.paths is None:
        pytest.skip("the small disk is part of the development cluster")
    folder = tmp_path_factory.mktemp("inputs")
    _write_inputs(folder)
    _fill_volume(api, shared_space)
    with story.running(cluster, shared_space, folder) as base:
        told = {case.name: Story(api, shared_space, case.name) for case in CASES}
        for case in CASES:
            _begin(told[case.name], case, base, cluster.registry)
        end = time.monotonic() + END_SECONDS
        while not all(one.finished() for one in told.values()) and time.monotonic() < end:
            time.sleep(2)
        yield told


def _write_inputs(folder: Path) -> None:
    story.write_teacher(folder)
    story.write_teacher(folder, "pickled", pickled=True)
    story.write_corpus(folder / "corpus.jsonl", 150)
    story.write_corpus(folder / "three.jsonl", 3)
    story.write_corpus(folder / "same.jsonl", 150, distinct=False)
    (folder / "noise.jsonl").write_text("this is no JSON\n")


def _fill_volume(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_persistent_volume_claim(namespace, CLAIM)
    core.create_namespaced_pod(namespace, FILL)

    def filled() -> bool:
        phase = core.read_namespaced_pod("fill", namespace).status.phase
        assert phase != "Failed"
        return bool(phase == "Succeeded")

    eventually(filled, "a full volume", within=120)


def _begin(told: Story, case: Case, base: str, registry: str) -> None:
    spec = story.spec(base, f"{registry}/{told.namespace}/{case.name}", steps=20)
    spec["retries"] = RETRIES
    told.begin(changed(spec, case.change, base))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_user_is_told_what_to_do(ended: dict[str, Story], case: Case) -> None:
    told = ended[case.name]

    succeeded, stalled = told.condition("Succeeded"), told.condition("Stalled")

    assert (succeeded["status"], succeeded["reason"]) == ("False", case.reason), told.describe()
    assert case.sentence in succeeded["message"], succeeded["message"]
    assert (stalled["status"], stalled["reason"]) == ("True", case.reason)
    failed = [stage for stage in told.status()["stages"] if stage["state"] == "Failed"]
    assert [len(told.pods(stage["name"])) for stage in failed] == [case.tries], told.describe()
