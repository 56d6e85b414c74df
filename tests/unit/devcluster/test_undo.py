"""What a failed start has begun is undone; what it does not own is left alone."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from devcluster import cluster, network, nodes, process, raising, state
from devcluster.components import Component, Context
from devcluster.errors import ClusterError
from devcluster.paths import Paths
from devcluster.process import Spec
from devcluster.programs import Binaries
from devcluster.state import Description

SLEEPER = Component(Spec("sleeper", ("sleep", "60")))


def _raising(folder: Path, undo: ExitStack) -> raising.Raising:
    return raising.Raising(Context(Paths(folder), Binaries({})), undo, print)


def _start_then_fail(folder: Path) -> None:
    with ExitStack() as undo:
        _raising(folder, undo).start(SLEEPER)
        raise ClusterError("a later step failed")


def test_a_failed_start_stops_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="a later step failed"):
        _start_then_fail(tmp_path)
    assert not process.alive(state.find(Paths(tmp_path), "sleeper"))


def test_what_ran_before_survives_a_failed_completion(tmp_path: Path) -> None:
    with ExitStack() as owner:
        before = _raising(tmp_path, owner).start(SLEEPER)
        with pytest.raises(ClusterError):
            _start_then_fail(tmp_path)
        assert process.alive(before)


def test_a_dead_component_is_started_again(tmp_path: Path) -> None:
    with ExitStack() as undo:
        first = _raising(tmp_path, undo).start(SLEEPER)
        process.kill(first)
        second = _raising(tmp_path, undo).start(SLEEPER)
        assert second.pid != first.pid
        assert process.alive(second)


def test_a_component_is_found_by_what_people_call_it(tmp_path: Path) -> None:
    with ExitStack() as undo:
        server = Component(Spec("kube-apiserver", ("sleep", "60")))
        _raising(tmp_path, undo).start(server)
        assert state.find(Paths(tmp_path), "apiserver").spec.name == "kube-apiserver"


def test_an_unknown_component_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with ExitStack() as undo:
        _raising(tmp_path, undo).start(SLEEPER)
        with pytest.raises(ClusterError, match="no component 'slepper'; expected one of: sleeper"):
            state.find(Paths(tmp_path), "slepper")


def test_the_description_is_what_was_written(tmp_path: Path) -> None:
    written = Description(("node-1",), ("registry",), {"etcd": "/bin/etcd"})
    state.write(Paths(tmp_path), written)
    assert state.describe(Paths(tmp_path)) == written
    assert state.describe(Paths(tmp_path / "elsewhere")) is None


def test_a_cluster_learns_of_new_programs_and_keeps_those_that_it_runs() -> None:
    running = Description(("node-1",), (), {"etcd": "/bin/etcd-1"})
    built = {"etcd": Path("/bin/etcd-2"), "prometheus": Path("/bin/prometheus-1")}
    folders = running.knowing(built).folders
    assert folders == {"etcd": "/bin/etcd-1", "prometheus": "/bin/prometheus-1"}


def test_a_cluster_only_grows() -> None:
    small = Description(("node-1", "node-2"), ("registry",), {})
    assert small.grown(("node-1",), frozenset()) == small
    assert small.grown(("node-1", "node-2", "node-3"), frozenset()).nodes[-1] == "node-3"


def test_taking_down_nothing_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("touched what another cluster may own")

    monkeypatch.setattr(network, "delete", forbidden)
    monkeypatch.setattr(nodes, "remove_mount_points", forbidden)
    cluster._tear_down(Paths(tmp_path))


def test_a_cluster_of_another_cache_folder_is_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "exists", lambda _: True)
    with pytest.raises(ClusterError, match="no cluster is recorded"):
        cluster._require_vacant(Paths(tmp_path))
