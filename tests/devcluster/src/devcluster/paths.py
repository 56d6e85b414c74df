"""Where the development cluster keeps its files."""

import os
from dataclasses import dataclass
from pathlib import Path


def cache_folder() -> Path:
    """Folder for everything of kubedistill that can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kubedistill"


@dataclass(frozen=True, slots=True)
class Paths:
    """All files below one cache folder.

    `state` belongs to one life of the cluster and goes with `down`. `kept` outlives it, because
    importing a large image or pushing a teacher again is what makes a second start slow.
    """

    cache: Path

    @property
    def programs(self) -> Path:
        return self.cache / "bin"

    @property
    def state(self) -> Path:
        return self.cache / "devcluster" / "state"

    @property
    def kept(self) -> Path:
        return self.cache / "devcluster" / "kept"

    @property
    def lock(self) -> Path:
        return self.cache / "devcluster" / "lock"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def configs(self) -> Path:
        return self.state / "configs"

    @property
    def processes(self) -> Path:
        return self.state / "processes"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def description(self) -> Path:
        return self.state / "cluster.json"

    def node_state(self, node: str) -> Path:
        """Kubelet's folder, logs and volumes of one node: gone after `down`."""
        return self.state / "nodes" / node

    def node_containerd(self, node: str) -> Path:
        """Images of one node: they survive `down`."""
        return self.kept / "nodes" / node / "containerd"

    @property
    def registry(self) -> Path:
        return self.kept / "registry"


def default() -> Paths:
    """Return the paths below the user's cache folder."""
    return Paths(cache_folder())
