"""The cluster's components: each module knows its program's flags, files and health check only."""

from dataclasses import dataclass, field
from pathlib import Path

from devcluster.paths import Paths
from devcluster.ports import Port
from devcluster.process import Spec
from devcluster.programs import Binaries


@dataclass(frozen=True, slots=True)
class Component:
    """A process to start, the files it reads and the ports it must find free."""

    spec: Spec
    files: dict[Path, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What every component may refer to."""

    paths: Paths
    binaries: Binaries

    def pki(self, name: str) -> str:
        """Path of a file of the cluster's PKI."""
        return str(self.paths.pki / name)


def flags(**values: object) -> tuple[str, ...]:
    """Keyword arguments as long options: `bind_address="x"` gives `--bind-address=x`."""
    return tuple(f"--{name.replace('_', '-')}={_text(value)}" for name, value in values.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
