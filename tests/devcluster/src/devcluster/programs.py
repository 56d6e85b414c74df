"""The cluster's programs: pinned Go modules, built once for each input."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import ClusterError

MODULES = Path(__file__).parents[2] / "go"
KUBERNETES_VERSION = "v1.36.3"
_VERSION = "k8s.io/component-base/version"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_GATEWAY = "github.com/envoyproxy/gateway"
GATEWAY_VERSION = "v1.9.1"
PROMETHEUS_VERSION = "3.13.5"
CHART = "chart"
"""Where a program's folder keeps its chart."""


@dataclass(frozen=True, slots=True)
class Program:
    """One folder of Go module and how to build its binaries."""

    name: str
    packages: tuple[str, ...]
    linker_flags: str = "-s -w"
    tags: str = ""
    cgo: bool = False
    binary: str = ""
    """Name of the only binary, where the package's folder name would not say it."""
    chart: str = ""
    """Folder of the Helm chart that the program's module carries; it is kept beside the binary."""


PROGRAMS = (
    Program(
        "kubernetes",
        tuple(
            f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        ),
        # Without a stamped version clients see v0.0.0 and refuse to talk.
        linker_flags=(
            f"-s -w -X {_VERSION}.gitVersion={KUBERNETES_VERSION} "
            f"-X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
        ),
    ),
    Program("etcd", ("go.etcd.io/etcd/server/v3",), binary="etcd"),
    Program(
        "containerd",
        tuple(f"{_CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        tags="no_btrfs no_devmapper no_zfs",
    ),
    # runc enters namespaces in C before Go starts; seccomp profiles need libseccomp.
    Program("runc", ("github.com/opencontainers/runc",), tags="seccomp", cgo=True, binary="runc"),
    # Our own main package: only the plugins that are used.
    Program("coredns", (".",), binary="coredns"),
    Program("helm", ("helm.sh/helm/v4/cmd/helm",), binary="helm"),
    # Our own main package: only the driver that is used.
    Program("registry", (".",), binary="registry"),
    Program(
        "local-path-provisioner",
        ("github.com/rancher/local-path-provisioner",),
        binary="local-path-provisioner",
    ),
    Program(
        "envoy-gateway",
        (f"{_GATEWAY}/cmd/envoy-gateway",),
        linker_flags=(
            f"-s -w -X {_GATEWAY}/internal/cmd/version.envoyGatewayVersion={GATEWAY_VERSION}"
        ),
        binary="envoy-gateway",
        chart="charts/gateway-helm",
    ),
    Program(
        "prometheus",
        ("github.com/prometheus/prometheus/cmd/prometheus",),
        linker_flags=(
            f"-s -w -X github.com/prometheus/common/version.Version={PROMETHEUS_VERSION}"
        ),
        # Of two dozen service discoveries only ours: the clouds' client libraries are half of it.
        tags="remove_all_sd,enable_kubernetes_sd",
        binary="prometheus",
    ),
    # Requests for tests and the demo; no part of the cluster.
    Program("vegeta", ("github.com/tsenart/vegeta/v12",), binary="vegeta"),
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program's binaries lie."""

    folders: dict[str, Path]

    def find(self, program: str, binary: str = "") -> str:
        """Path of a binary."""
        return str(self.folders[program] / (binary or program))

    def search_path(self, *programs: str) -> str:
        """Return a PATH that finds these programs first."""
        return ":".join([*(str(self.folders[name]) for name in programs), os.environ["PATH"]])


def names_of(program: Program) -> tuple[str, ...]:
    """Return the binaries that a program consists of."""
    return (program.binary,) if program.binary else tuple(map(_last, program.packages))


def fingerprint(program: Program, pins: Iterable[bytes], go_version: str) -> str:
    """Hash of everything that the binaries depend on."""
    digest = hashlib.sha256(f"{program!r} {go_version}".encode())
    for pin in pins:
        digest.update(hashlib.sha256(pin).digest())
    return digest.hexdigest()[:16]


def command(program: Program, output: Path) -> tuple[str, ...]:
    """Return the `go build` that fills the folder `output`."""
    target = output / program.binary if program.binary else output
    tags = ("-tags", program.tags) if program.tags else ()
    # Several packages are written into a folder only when the path ends in a slash.
    where = str(target) if program.binary else f"{target}/"
    flags = ("-trimpath", "-buildvcs=false", *tags, "-ldflags", program.linker_flags)
    return ("go", "build", *flags, "-o", where, *program.packages)


def build(cache: Path, *, say: Callable[[str], None]) -> Binaries:
    """Build what is missing; seconds when nothing is. Safe to call from several processes."""
    cache.mkdir(parents=True, exist_ok=True)
    go_version = _go_version()
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Binaries(
            {p.name: _build_one(p, MODULES / p.name, cache, go_version, say) for p in PROGRAMS}
        )


def build_one(program: Program, module: Path, cache: Path, *, say: Callable[[str], None]) -> Path:
    """Return the folder of a program that is no part of the cluster, built from a module."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build_one(program, module, cache, _go_version(), say)


def source(program: Program, module: Path) -> Path:
    """Return the folder with a program's sources, as the module cache has them."""
    found = _go(("go", "list", "-f", "{{.Module.Dir}}", program.packages[0]), module)
    return Path(found.strip())


def _build_one(
    program: Program, module: Path, cache: Path, go_version: str, say: Callable[[str], None]
) -> Path:
    pins = [file.read_bytes() for file in (*_pins(module), *sorted(module.glob("*.go")))]
    folder = cache / f"{program.name}-{fingerprint(program, pins, go_version)}"
    if folder.is_dir():
        return folder
    say(f"building {program.name} ({', '.join(names_of(program))}) ...")
    began = time.monotonic()
    draft = Path(tempfile.mkdtemp(dir=cache, prefix=f".{program.name}-"))
    try:
        _go(command(program, draft), module, cgo=program.cgo)
        if program.chart:
            _keep_chart(program, module, draft / CHART)
        draft.chmod(0o755)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(f"built {program.name} in {time.monotonic() - began:.0f} s")
    return folder


def _pins(module: Path) -> tuple[Path, Path]:
    return module / "go.mod", module / "go.sum"


def _keep_chart(program: Program, module: Path, copy: Path) -> None:
    """Copy the chart out of the module cache, so that a cluster needs the built programs only."""
    shutil.copytree(source(program, module) / program.chart, copy)
    # Everything in the module cache is read-only.
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _go(argv: tuple[str, ...], module: Path, *, cgo: bool = False) -> str:
    env = {**os.environ, "CGO_ENABLED": str(int(cgo)), "GOFLAGS": "", "GOWORK": "off"}
    done = subprocess.run(argv, cwd=module, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(
            f"`{' '.join(argv)}` in {module} ended with exit status {done.returncode}:\n"
            f"{done.stderr[-3000:]}"
        )
    return done.stdout


def _go_version() -> str:
    if shutil.which("go") is None:
        raise ClusterError("no `go` on PATH: run `make setup`, or install Go 1.26 or newer")
    # GOTOOLCHAIN may fetch a newer compiler for a module, so ask inside one.
    done = subprocess.run(
        ["go", "version"], cwd=MODULES / "kubernetes", capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _last(package: str) -> str:
    return package.rsplit("/", 1)[-1]
