"""One real Kubernetes for all tests of this folder: the one of KUBECONFIG, else our own."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import images
import namespaces
import pytest
from devcluster import Cluster, ClusterError, gateways
from distill_api.generate import files
from distill_api.generate.kinds import KINDS
from kubernetes import client, config
from moving import Models, Scene
from operators import Operator


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the cluster, raised if it is not up."""
    return Cluster.attach_or_up(addons={"registry", "gateway"})


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster) -> Iterator[Cluster]:
    """Yield the cluster with a second node."""
    if cluster.paths is None:
        pytest.skip("a second node is for the development cluster")
    grown = Cluster.attach_or_up(nodes=2, addons={"registry"})
    try:
        yield grown
    finally:
        grown.remove_node("node-2")


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """Yield a client with the rights of an administrator."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:
        yield connection


def _patiently(act: Callable[[], object], tries: int = 3) -> None:
    """Act again when the API server gave up on its own.

    It compiles all rules of a definition within one request, which takes longer than its limit
    while the machine is busy with other things.
    """
    for left in reversed(range(tries)):
        try:
            act()
        except ClusterError as refusal:
            if not left or "Timeout" not in str(refusal):
                raise
        else:
            return


@pytest.fixture(scope="session")
def crd(cluster: Cluster) -> None:
    """Install the committed definitions and wait until the API server serves them."""
    _patiently(
        lambda: cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", str(files.ROOT / "crds")
        )
    )
    for kind in KINDS:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind.name}")


@contextmanager
def _namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace under the strictest pod security.

    The name is new each time: the namespace of an earlier run may still be on its way out.
    """
    name = f"test-{secrets.token_hex(5)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield name
    finally:
        namespaces.dismiss(cluster, name)


@pytest.fixture
def space(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace of the test's own."""
    with _namespace(cluster) as name:
        yield name


@pytest.fixture(scope="module")
def shared_space(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace for all tests of a file."""
    with _namespace(cluster) as name:
        yield name


@pytest.fixture
def operator(cluster: Cluster, space: str, tmp_path: Path) -> Iterator[Operator]:
    """Run the operator for the test's namespace; the pods that it makes have no image to run."""
    with Operator(cluster.kubeconfig, space, tmp_path / "operator.log") as replica:
        yield replica


@pytest.fixture
def serving_operator(cluster: Cluster, space: str, tmp_path: Path) -> Iterator[Operator]:
    """Run the operator for the test's namespace; its arms and probers run our server's image."""
    image = {"KUBEDISTILL_SERVER_IMAGE": images.image(cluster, "server")}
    with Operator(cluster.kubeconfig, space, tmp_path / "operator.log", more=image) as replica:
        yield replica


@pytest.fixture
def scene(cluster: Cluster, space: str, models: Models) -> Scene:
    """Return the test's namespace with a gateway, for a rollout of the file's own `models`."""
    return Scene(cluster, space, gateways.make(cluster, space), models)
