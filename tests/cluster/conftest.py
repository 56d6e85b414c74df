"""One real Kubernetes for all tests of this folder: the one of KUBECONFIG, else our own."""

import hashlib
from collections.abc import Iterator

import pytest
from devcluster import Cluster
from distill_api.generate import crd as definition
from distill_api.generate import files
from kubernetes import client, config


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the cluster, raised if it is not up."""
    return Cluster.attach_or_up(addons={"registry"})


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """Yield a client with the rights of an administrator."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
        yield connection


@pytest.fixture(scope="session")
def crd(cluster: Cluster) -> None:
    """Install the committed definitions and wait until the API server serves them."""
    folder = files.ROOT / "crds"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(folder))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{definition.NAME}")


@pytest.fixture
def space(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the name of a namespace of the test's own, under the strictest pod security."""
    name = f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
