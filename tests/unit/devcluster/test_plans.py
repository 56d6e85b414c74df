"""What the cluster would do to the machine, before it does it."""

from pathlib import Path

import pytest
from devcluster import addons, addresses, cgroups, network, nodes, ports, requirements
from devcluster.errors import ClusterError
from devcluster.paths import Paths
from devcluster.ports import Port

PATHS = Paths(Path("/cache"))


def test_nodes_have_addresses_and_pod_ranges_of_their_own() -> None:
    names = addresses.node_names(9)
    assert str(addresses.node_address("node-1")) == "198.51.100.11"
    assert str(addresses.pod_range("node-1")) == "10.244.1.0/24"
    assert len({addresses.node_address(name) for name in names}) == 9
    assert len({addresses.pod_range(name) for name in names}) == 9


@pytest.mark.parametrize("name", ["node-0", "node-10", "node-1/kubelet", "worker"])
def test_what_is_no_node_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected node-1 to node-9"):
        addresses.node_number(name)


def test_a_node_is_connected_from_the_host_and_inside() -> None:
    plan = network.attach("node-2", 4711)
    inside = ("nsenter", "--target", "4711", "--net", "ip")
    assert (*inside, "address", "add", "198.51.100.12/24", "dev", "eth0") in plan
    assert (
        *inside,
        *("route", "add", "10.96.0.0/16", "dev", "services", "src", "198.51.100.12"),
    ) in plan
    by_the_node = ("via", "198.51.100.12", "dev", "kd0")
    assert plan[-2:] == [
        ("ip", "route", "replace", "10.244.2.0/24", *by_the_node),
        ("ip", "route", "replace", "10.96.0.0/16", *by_the_node, "metric", "2"),
    ]


def test_a_node_reaches_the_pods_of_every_other_node_and_not_its_own_by_a_route() -> None:
    routes = {
        command[7] for command in network.attach("node-1", 1) if command[5:7] == ("route", "add")
    }
    assert routes - {"10.96.0.0/16"} == {f"10.244.{number}.0/24" for number in range(2, 10)}


def test_link_names_fit_the_kernel() -> None:
    assert all(len(network.link(node)) <= 15 for node in addresses.node_names(9))


def test_a_failing_command_is_shown_with_its_reason() -> None:
    with pytest.raises(
        ClusterError, match=r"`ls /nowhere-at-all` ended with exit status 2: .*No such"
    ):
        network.run([("ls", "/nowhere-at-all")])


def test_a_node_finds_its_own_disk_under_the_usual_paths() -> None:
    script = nodes.first_process(PATHS, "node-3")
    state = "/cache/devcluster/state/nodes/node-3"
    assert f"mount --bind {state}/kubelet /var/lib/kubelet\n" in script
    assert f"mount --bind {state}/volumes /opt/local-path-provisioner\n" in script
    kept = "/cache/devcluster/kept/nodes/node-3/containerd"
    assert f"mount --bind {kept} /var/lib/containerd\n" in script
    assert "hostname node-3\n" in script


def test_images_outlive_the_cluster_and_volumes_do_not() -> None:
    assert not PATHS.node_containerd("node-1").is_relative_to(PATHS.state)
    assert not PATHS.registry.is_relative_to(PATHS.state)
    assert nodes.binds(PATHS, "node-1")["/opt/local-path-provisioner"].is_relative_to(PATHS.state)


def test_a_path_with_a_blank_is_quoted() -> None:
    script = nodes.first_process(Paths(Path("/my cache")), "node-1")
    assert "mount --bind '/my cache/devcluster/state/nodes/node-1/kubelet' /var/lib" in script


def test_a_taken_port_names_the_component_and_the_port() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = Port("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ClusterError, match=rf"etcd needs port 127.0.0.1:{port.number}"):
            ports.require_free(port, "etcd")
    ports.require_free(port, "etcd")


def test_an_unknown_addon_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ClusterError,
        match="no add-on 'regsitry'; expected one of: gateway, prometheus, registry",
    ):
        addons.check(["registry", "regsitry"])


def test_cgroup_version_2_is_one_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "system.slice").mkdir()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]


def test_cgroup_version_1_is_one_hierarchy_per_controller(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "unified"):
        (tmp_path / name).mkdir()
    assert [path.name for path in cgroups.hierarchies(tmp_path)] == ["cpu", "memory", "unified"]


def test_a_missing_program_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert {"nftables", "conntrack", "iproute2"} <= set(requirements.missing())


def test_whoever_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="run it as root"):
        requirements.check()
