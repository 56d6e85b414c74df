"""Programs are built once for each input."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from devcluster import programs
from devcluster.components import Context, coredns
from devcluster.errors import ClusterError
from devcluster.paths import Paths
from devcluster.programs import PROGRAMS, Binaries, Program

TOOL = Program("tool", ("example.org/tool/cmd/one", "example.org/tool/cmd/two"), tags="a b")


def test_several_packages_are_built_into_a_folder() -> None:
    assert programs.command(TOOL, Path("/out")) == (
        *("go", "build", "-trimpath", "-buildvcs=false", "-tags", "a b", "-ldflags", "-s -w"),
        *("-o", "/out/", "example.org/tool/cmd/one", "example.org/tool/cmd/two"),
    )


def test_a_single_binary_gets_its_own_name() -> None:
    only = Program("etcd", ("go.etcd.io/etcd/server/v3",), binary="etcd")
    assert programs.command(only, Path("/out"))[-3:] == (
        "-o",
        "/out/etcd",
        "go.etcd.io/etcd/server/v3",
    )


@pytest.mark.parametrize(
    ("why", "program", "pins", "go"),
    [
        ("another pinned version", TOOL, [b"module tool v2", b"sums"], "go1.26"),
        ("other checksums", TOOL, [b"module tool v1", b"other sums"], "go1.26"),
        ("another compiler", TOOL, [b"module tool v1", b"sums"], "go1.27"),
        ("other build tags", replace(TOOL, tags="a"), [b"module tool v1", b"sums"], "go1.26"),
        ("bytes moved between files", TOOL, [b"module tool v1s", b"ums"], "go1.26"),
    ],
)
def test_every_input_counts(why: str, program: Program, pins: list[bytes], go: str) -> None:
    before = programs.fingerprint(TOOL, [b"module tool v1", b"sums"], "go1.26")
    assert programs.fingerprint(program, pins, go) != before, why


def test_the_same_input_gives_the_same_folder() -> None:
    pins = [b"module tool v1", b"sums"]
    assert programs.fingerprint(TOOL, pins, "go") == programs.fingerprint(TOOL, pins, "go")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_is_pinned(program: Program) -> None:
    go_mod = (programs.MODULES / program.name / "go.mod").read_text()
    main = programs.MODULES / program.name / "main.go"
    pinned = main.exists() or all(p in go_mod.partition("tool")[2] for p in program.packages)
    assert pinned
    assert (programs.MODULES / program.name / "go.sum").stat().st_size > 0


def test_what_programs_share_is_compiled_once() -> None:
    pins: dict[str, set[str]] = defaultdict(set)
    # One with cgo has packages of its own all the way down.
    for name in (program.name for program in PROGRAMS if not program.cgo):
        go_mod = programs.MODULES / name / "go.mod"
        for module, version in re.findall(r"(?m)^\t(\S+) (v\S+)", go_mod.read_text()):
            pins[module].add(version)
    differing = {module for module, versions in pins.items() if len(versions - {"v0.0.0"}) > 1}
    # The API server keeps the CEL that it was released with.
    assert differing == {"github.com/google/cel-go"}, "run tests/devcluster/go/align.sh"
    assert len(pins) > 300


def test_coredns_has_every_plugin_of_its_configuration() -> None:
    main = (programs.MODULES / "coredns" / "main.go").read_text()
    context = Context(Paths(Path("/cache")), Binaries({}))
    server = coredns.corefile(context, upstream=True).partition("{")[2]
    used = {line.split()[0] for line in server.splitlines() if line.startswith("    ")}
    plugins = {word for word in used if word.isalpha()} - {
        "kubeconfig",
        "pods",
        "ttl",
        "fallthrough",
    }
    assert plugins == {"bind", "errors", "ready", "kubernetes", "forward", "cache"}
    for plugin in plugins:
        assert f'coredns/plugin/{plugin}"' in main
        assert f'"{plugin}"' in main


def test_the_stamped_version_is_the_pinned_one() -> None:
    go_mod = (programs.MODULES / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {programs.KUBERNETES_VERSION}" in go_mod
    replaced = [line for line in go_mod.splitlines() if " => k8s.io/" in line]
    assert len(replaced) > 25
    staging = programs.KUBERNETES_VERSION.replace("v1.", "v0.")
    assert all(line.endswith(f" {staging}") for line in replaced)


@pytest.mark.parametrize(
    ("program", "module", "version"),
    [
        ("envoy-gateway", "github.com/envoyproxy/gateway", programs.GATEWAY_VERSION),
        # Its releases 3.13 are the module's v0.313.
        (
            "prometheus",
            "github.com/prometheus/prometheus",
            "v0.{0[0]}{0[1]:0>2}.{0[2]}".format(programs.PROMETHEUS_VERSION.split(".")),
        ),
    ],
)
def test_an_addons_stamped_version_is_the_pinned_one(
    program: str, module: str, version: str
) -> None:
    assert f"{module} {version} " in (programs.MODULES / program / "go.mod").read_text()


def test_a_chart_is_kept_beside_the_program_and_may_be_removed(tmp_path: Path) -> None:
    module, cache = tmp_path / "module", tmp_path / "out"
    (module / "chart").mkdir(parents=True)
    (module / "go.mod").write_text("module example.org/tool\n")
    (module / "main.go").write_text("package main\n\nfunc main() {}\n")
    (module / "chart" / "Chart.yaml").write_text("name: tool\n")
    (module / "chart" / "Chart.yaml").chmod(0o444)
    tool = Program("tool", ("example.org/tool",), chart="chart")
    programs._keep_chart(tool, module, cache)
    assert (cache / "Chart.yaml").read_text() == "name: tool\n"
    assert (cache / "Chart.yaml").stat().st_mode & 0o777 == 0o644


def test_a_failed_build_shows_what_go_said(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module broken\n")
    with pytest.raises(ClusterError, match=r"(?s)go build.*exit status 1.*no Go files"):
        programs._go(("go", "build", "."), tmp_path, cgo=False)
