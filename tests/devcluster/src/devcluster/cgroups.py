"""One cgroup per node, so that a node's pods can be found and removed together."""

import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "kubedistill"


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Mount points of cgroup v2, or of every controller of cgroup v1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(folder for folder in root.iterdir() if folder.is_dir())


def create(node: str) -> None:
    """Make the cgroup that the kubelet's `cgroupRoot` names."""
    for hierarchy in hierarchies():
        for folder in (hierarchy / PARENT, hierarchy / PARENT / node):
            folder.mkdir(exist_ok=True)
            _delegate(folder)


def remove(node: str) -> None:
    """Remove a node's cgroups, and the common parent when no node is left."""
    for hierarchy in hierarchies():
        top = hierarchy / PARENT / node
        folders = [path for path in top.rglob("*") if path.is_dir()]
        for folder in (*sorted(folders, reverse=True), top, top.parent):
            _remove_empty(folder)


def _delegate(folder: Path) -> None:
    """Give a new cgroup its parent's controllers, which the kernel does not do by itself."""
    parent = folder.parent
    for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty means that nothing may run
        if (folder / name).exists() and not (folder / "cgroup.controllers").exists():
            (folder / name).write_text((parent / name).read_text())
    controllers = parent / "cgroup.controllers"
    if controllers.exists():  # version 2
        wanted = " ".join(f"+{name}" for name in controllers.read_text().split())
        (parent / "cgroup.subtree_control").write_text(wanted)


def _remove_empty(folder: Path) -> None:
    """Remove one cgroup; its last processes may need a moment to leave."""
    for _ in range(20):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # busy: still a process, or another node below the parent
            if folder.name == PARENT:
                return
            time.sleep(0.05)
