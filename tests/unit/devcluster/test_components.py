"""Each component's flags and files."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from devcluster import programs
from devcluster.components import (
    Component,
    Context,
    apiserver,
    containerd,
    controller_manager,
    coredns,
    etcd,
    kube_proxy,
    kubelet,
    prometheus,
    provisioner,
    registry,
    scheduler,
)
from devcluster.paths import Paths
from devcluster.programs import Binaries

FOLDERS = {program.name: Path("/bin") / program.name for program in programs.PROGRAMS}
CONTEXT = Context(Paths(Path("/cache")), Binaries(FOLDERS))
ENTER = ("nsenter", "--target", "7", "--")


def _flags(component: Component) -> dict[str, str]:
    pairs = [word.removeprefix("--").partition("=") for word in component.spec.argv[1:]]
    return {name: value for name, _, value in pairs}


def test_etcd_listens_on_loopback_only() -> None:
    flags = _flags(etcd.component(CONTEXT))
    assert flags["listen-client-urls"] == "http://127.0.0.1:12379"
    assert flags["listen-peer-urls"].startswith("http://127.0.0.1:")
    assert flags["data-dir"].startswith("/cache/devcluster/state/")


def test_the_api_server_is_reached_by_host_nodes_and_pods_at_one_address() -> None:
    component = apiserver.component(CONTEXT)
    flags = _flags(component)
    assert flags["bind-address"] == flags["advertise-address"] == "198.51.100.1"
    assert component.spec.health.url == "https://198.51.100.1:6443/readyz"
    assert component.spec.health.ca == "/cache/devcluster/state/pki/ca.crt"


def test_kubelets_may_only_change_their_own_node() -> None:
    flags = _flags(apiserver.component(CONTEXT))
    assert flags["authorization-mode"] == "Node,RBAC"
    assert "NodeRestriction" in flags["enable-admission-plugins"]
    assert flags["kubelet-certificate-authority"].endswith("/ca.crt")


def test_pods_can_verify_the_api_server() -> None:
    assert _flags(controller_manager.component(CONTEXT))["root-ca-file"].endswith("pki/ca.crt")


def test_service_accounts_are_signed_and_checked_with_one_pair() -> None:
    server, manager = (
        _flags(module.component(CONTEXT)) for module in (apiserver, controller_manager)
    )
    signing = server["service-account-signing-key-file"]
    assert signing == manager["service-account-private-key-file"]
    assert server["service-account-key-file"] == signing.replace(".key", ".pub")


def test_nobody_elects_a_leader_among_one() -> None:
    for module in (controller_manager, scheduler):
        assert _flags(module.component(CONTEXT))["leader-elect"] == "false"


def test_the_kubelet_keeps_images_and_runs_on_this_kernel() -> None:
    config = kubelet.config(CONTEXT, "node-2")
    assert config["imageGCHighThresholdPercent"] == 100
    assert config["failCgroupV1"] is False
    assert config["cgroupRoot"] == "/kubedistill/node-2"
    assert config["address"] == "198.51.100.12"
    assert config["clusterDNS"] == ["10.96.0.10"]


def test_the_kubelet_answers_nobody_anonymous() -> None:
    config = kubelet.config(CONTEXT, "node-1")
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}


def test_node_components_run_inside_their_node() -> None:
    for module in (containerd, kubelet, kube_proxy):
        spec = module.component(CONTEXT, "node-1", ENTER).spec
        assert spec.argv[: len(ENTER)] == ENTER
        assert spec.name.startswith("node-1/")


def test_containerd_runs_sandboxes_without_cap_sys_resource() -> None:
    config = tomllib.loads(containerd.config(CONTEXT, "node-1"))
    assert config["version"] == 3
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True
    options = runtime["containerd"]["runtimes"]["runc"]["options"]
    assert options == {"BinaryName": "/bin/runc/runc", "SystemdCgroup": False}


def test_containerd_pulls_from_the_registry_over_plain_http() -> None:
    component = containerd.component(CONTEXT, "node-1", ENTER)
    hosts = next(text for file, text in component.files.items() if file.name == "hosts.toml")
    assert tomllib.loads(hosts)["server"] == "http://198.51.100.1:5000"
    config = tomllib.loads(containerd.config(CONTEXT, "node-1"))
    folder = config["plugins"]["io.containerd.cri.v1.images"]["registry"]["config_path"]
    assert Path(folder) / "198.51.100.1:5000" / "hosts.toml" in component.files


def test_pods_get_addresses_of_their_node() -> None:
    plugin = json.loads(containerd.network("node-4"))["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.4.0/24"}]]


def test_services_are_made_by_nftables() -> None:
    assert kube_proxy.config(CONTEXT, "node-1")["mode"] == "nftables"


@pytest.mark.parametrize("upstream", [True, False])
def test_foreign_names_are_forwarded_only_where_somebody_answers(*, upstream: bool) -> None:
    assert ("forward ." in coredns.corefile(CONTEXT, upstream=upstream)) is upstream


def test_the_registry_deletes_keeps_and_sends_no_traces() -> None:
    component = registry.component(CONTEXT)
    (text,) = component.files.values()
    config = yaml.safe_load(text)
    assert config["storage"]["delete"] == {"enabled": True}
    root = Path(config["storage"]["filesystem"]["rootdirectory"])
    assert not root.is_relative_to(CONTEXT.paths.state)
    assert component.spec.env["OTEL_TRACES_EXPORTER"] == "none"


def test_prometheus_starts_empty_each_time_and_is_reached_by_pods() -> None:
    component = prometheus.component(CONTEXT)
    flags = _flags(component)
    assert flags["storage.tsdb.path"] == "/cache/devcluster/state/prometheus"
    assert flags["web.listen-address"] == "198.51.100.1:9090"
    assert component.spec.health.url == "http://198.51.100.1:9090/-/ready"


def test_prometheus_looks_every_5_s_where_the_pods_annotations_say() -> None:
    (text,) = prometheus.component(CONTEXT).files.values()
    config = json.loads(text)
    assert config["global"]["scrape_interval"] == "5s"
    (job,) = config["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [
        {"role": "pod", "kubeconfig_file": "/cache/devcluster/state/pki/prometheus.kubeconfig"}
    ]
    rules = job["relabel_configs"]
    scrape = "__meta_kubernetes_pod_annotation_prometheus_io_scrape"
    assert {"source_labels": [scrape], "action": "keep", "regex": "true"} in rules
    targets = {rule.get("target_label") for rule in rules}
    assert targets >= {"__address__", "__metrics_path__", "namespace", "pod"}


def test_the_helper_pod_uses_an_image_that_every_node_has() -> None:
    pod = yaml.safe_load(provisioner.HELPER_POD)
    assert pod["spec"]["containers"][0]["image"] == "localhost/kubedistill/busybox:1"


def test_no_two_components_share_a_port() -> None:
    modules = (etcd, apiserver, controller_manager, scheduler, registry, prometheus)
    used = [port for module in modules for port in module.component(CONTEXT).ports]
    used += coredns.component(CONTEXT, upstream=False).ports
    assert len(used) == len(set(used)) >= 8
