"""What is written down about the running cluster, so that another process can attach to it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devcluster import process
from devcluster.errors import ClusterError
from devcluster.paths import Paths
from devcluster.process import Running
from devcluster.programs import Binaries

# What people call the components in conversation.
ALIASES = {
    "apiserver": "kube-apiserver",
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}


@dataclass(frozen=True, slots=True)
class Description:
    """The cluster as it was asked for."""

    nodes: tuple[str, ...]
    addons: tuple[str, ...]
    folders: dict[str, str]
    """Where each program's binaries lie."""

    @property
    def binaries(self) -> Binaries:
        return Binaries({name: Path(folder) for name, folder in self.folders.items()})

    def knowing(self, folders: Mapping[str, Path]) -> "Description":
        """Return the same cluster with programs that it did not need before.

        Of those that it has it keeps its own: a cluster never runs two versions of one program.
        """
        return replace(self, folders={n: str(f) for n, f in folders.items()} | self.folders)

    def grown(self, nodes: tuple[str, ...], addons: frozenset[str]) -> "Description":
        """Return the same cluster with at least these nodes and add-ons."""
        more = tuple(node for node in nodes if node not in self.nodes)
        both = tuple(sorted({*self.addons, *addons}))
        return replace(self, nodes=(*self.nodes, *more), addons=both)


def describe(paths: Paths) -> Description | None:
    """Return the cluster that runs on this machine, if one does."""
    if not paths.description.exists():
        return None
    record = json.loads(paths.description.read_text())
    return Description(tuple(record["nodes"]), tuple(record["addons"]), record["folders"])


def write(paths: Paths, description: Description) -> None:
    """Write the description for whoever attaches."""
    paths.description.parent.mkdir(parents=True, exist_ok=True)
    paths.description.write_text(json.dumps(asdict(description), indent=2))


def processes(paths: Paths) -> dict[str, Running]:
    """Every recorded process by name, in the order in which they were started."""
    files = paths.processes.glob("*.json") if paths.processes.exists() else []
    records = sorted(map(process.load, files), key=lambda running: running.born)
    return {running.spec.name: running for running in records}


def find(paths: Paths, name: str) -> Running:
    """One recorded process, by its name or what people call it."""
    known = processes(paths)
    wanted = ALIASES.get(name, name)
    if wanted not in known:
        names = ", ".join(sorted(known)) or "none: the cluster is not up"
        raise ClusterError(f"there is no component {name!r}; expected one of: {names}")
    return known[wanted]


def forget(paths: Paths, name: str) -> None:
    """Remove the record of a process that is gone for good."""
    (paths.processes / f"{name.replace('/', '.')}.json").unlink(missing_ok=True)
