"""What the gateway add-on installs, and how a test's Gateway looks."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster import Cluster, ClusterError, gateways, store
from devcluster.addons import gateway
from devcluster.components import Context
from devcluster.images import programs as images
from devcluster.images import recipe
from devcluster.images.build import Built
from devcluster.images.programs import Packed
from devcluster.paths import Paths
from devcluster.programs import Binaries
from devcluster.site import Site

IMAGE = "localhost/kubedistill/envoy:0123456789ab"
TEMPLATE = """
global:
  images:
    envoyGateway: {image: "${GatewayImage}", pullPolicy: ${GatewayImagePullPolicy}}
deployment:
  envoyGateway:
    resources: {limits: {memory: 1024Mi}, requests: {cpu: 100m}}
  pod: {annotations: {prometheus.io/scrape: 'true'}}
"""


def _spec() -> Any:
    return gateway.envoy_proxy(IMAGE)["spec"]


def test_the_charts_own_values_stay_but_for_what_we_set() -> None:
    found = gateway.values(TEMPLATE, IMAGE)
    assert found["global"]["images"]["envoyGateway"]["image"] == IMAGE
    resources = found["deployment"]["envoyGateway"]["resources"]
    assert resources == {
        "limits": {"memory": "1024Mi"},
        "requests": {"cpu": "50m", "memory": "128Mi"},
    }
    # A string: as a boolean the API server would refuse it.
    assert found["deployment"]["pod"]["annotations"]["prometheus.io/scrape"] == "true"


def test_merging_changes_neither_side() -> None:
    base, over = {"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}
    assert gateway.merged(base, over) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert (base, over) == ({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]})


def test_a_latency_of_150_ms_is_a_bound_of_every_proxys_histogram() -> None:
    bootstrap = _spec()["bootstrap"]
    assert bootstrap["type"] == "Merge"
    (bounds,) = yaml.safe_load(bootstrap["value"])["stats_config"]["histogram_bucket_settings"]
    assert bounds["match"] == {"suffix": "upstream_rq_time"}
    assert 150 in bounds["buckets"]
    assert bounds["buckets"] == sorted(set(bounds["buckets"]))


def test_proxies_need_no_load_balancer_and_run_our_image() -> None:
    made = _spec()["provider"]["kubernetes"]
    assert made["envoyService"]["type"] == "ClusterIP"
    assert made["envoyDeployment"]["container"]["image"] == IMAGE


def test_the_class_takes_the_proxies_settings() -> None:
    parameters = gateway.gateway_class()["spec"]["parametersRef"]
    proxy = gateway.envoy_proxy(IMAGE)
    assert parameters["name"] == proxy["metadata"]["name"]
    assert parameters["namespace"] == proxy["metadata"]["namespace"]
    assert parameters["kind"] == proxy["kind"]


def test_every_input_of_the_installation_counts(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("version: 1")
    before = gateway.fingerprint(tmp_path, {"image": "a"})
    assert gateway.fingerprint(tmp_path, {"image": "a"}) == before
    assert gateway.fingerprint(tmp_path, {"image": "b"}) != before
    (tmp_path / "Chart.yaml").write_text("version: 2")
    assert gateway.fingerprint(tmp_path, {"image": "a"}) != before


def test_the_pinned_envoy_is_a_program() -> None:
    with gateway.envoy_program().open("rb") as file:
        assert file.read(4) == b"\x7fELF"


def test_an_image_of_programs_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    program = tmp_path / "envoy"
    program.write_bytes(b"one")
    packed = Packed("envoy", (program,))
    before = images.reference(packed)
    assert before.startswith(f"{recipe.REPOSITORY}/envoy:")
    assert images.reference(packed) == before
    program.write_bytes(b"two")
    assert images.reference(packed) != before


@pytest.mark.parametrize("name", ["envoy", "envoy-gateway"])
def test_nothing_in_an_image_of_programs_runs_as_root(name: str) -> None:
    lines = Packed(name, ()).dockerfile.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65532:65532"]
    assert [line for line in lines if line.startswith("COPY ")] == [
        f"COPY {name} /usr/local/bin/{name}"
    ]


def test_a_node_gets_only_the_images_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {("ctr", "1"): {"old"}, ("ctr", "2"): {"old", "new"}}
    moved: list[tuple[store.Ctr, Path]] = []
    monkeypatch.setattr(store, "images", present.__getitem__)
    monkeypatch.setattr(store, "import_image", lambda ctr, layout: moved.append((ctr, layout)))
    context = Context(Paths(tmp_path), Binaries({}))
    Site(context, tuple(present), print).load(Built("old", Path("/old")), Built("new", Path("/n")))
    assert moved == [(("ctr", "1"), Path("/n"))]


def test_a_cluster_without_a_gateway_says_how_to_get_one() -> None:
    bare = Cluster(Path("/kubeconfig"), "", None)
    with pytest.raises(ClusterError, match=r"up --with gateway"):
        gateways.make(bare, "here")


def test_a_gateway_listens_for_plain_http() -> None:
    made = json.loads(json.dumps(gateways.manifest("edge", "envoy", 80)))
    assert made["spec"] == {
        "gatewayClassName": "envoy",
        "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
    }
