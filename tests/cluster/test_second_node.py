"""A student on a node that never had it: pulled by digest, and refused where a byte is wrong."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from devcluster import Cluster
from operators import eventually
from published import a_pod_that_reads, published

SECOND = "node-2"
PHASE = "jsonpath={.status.phase}"
WEIGHTS = secrets.token_hex(1900).encode()
"""Of this run alone: a node keeps its layers over runs, and would not pull one that it has."""
pytestmark = [pytest.mark.timeout(600)]


def test_a_flipped_byte_is_refused_and_the_mended_layer_is_served(
    two_nodes: Cluster, shared_space: str, tmp_path: Path
):
    report = published(tmp_path, f"{two_nodes.registry}/tests-{secrets.token_hex(5)}/far", WEIGHTS)
    assert report.artifact is not None
    with flipped(weights_layer(two_nodes)):
        reads(two_nodes, shared_space, report.artifact.uri.removeprefix("oci://"))
        told = eventually(
            lambda: refusals(two_nodes, shared_space), "the layer is refused", within=120
        )
        phase = two_nodes.kubectl("-n", shared_space, "get", "pod", "reader", "-o", PHASE)
    assert any("sha256:" in message for message in told), told
    assert phase == "Pending"
    here = ("-n", shared_space)
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    two_nodes.kubectl(*here, "wait", "pod/reader", succeeded, "--timeout=240s")
    assert two_nodes.kubectl(*here, "logs", "reader").strip() == WEIGHTS.decode().strip()
    node = "jsonpath={.spec.nodeName}"
    assert two_nodes.kubectl(*here, "get", "pod", "reader", "-o", node) == SECOND


def reads(cluster: Cluster, space: str, reference: str) -> None:
    """Begin a pod on the second node that mounts the student."""
    pod = a_pod_that_reads(reference)
    pod["spec"]["nodeName"] = SECOND
    cluster.kubectl("-n", space, "apply", "-f", "-", stdin=json.dumps(pod))


def refusals(cluster: Cluster, space: str) -> list[str]:
    """Return what the kubelet has said of pulls that failed."""
    events = json.loads(cluster.kubectl("-n", space, "get", "events", "-o", "json"))["items"]
    return [event["message"] for event in events if "failed to pull" in event["message"].lower()]


def weights_layer(cluster: Cluster) -> Path:
    """Return the registry's file of the layer that was pushed last and holds the weights."""
    assert cluster.paths is not None
    files = (cluster.paths.registry / "docker/registry/v2/blobs").glob("sha256/*/*/data")
    found = [file for file in files if WEIGHTS in file.read_bytes()]
    return max(found, key=lambda file: file.stat().st_mtime)


@contextmanager
def flipped(file: Path) -> Iterator[None]:
    """Let one bit of a file be wrong, as on a failing disk."""
    right = file.read_bytes()
    place = right.index(WEIGHTS)
    file.write_bytes(right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :])
    try:
        yield
    finally:
        file.write_bytes(right)
