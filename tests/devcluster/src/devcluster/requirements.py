"""What this machine must have before a cluster can be raised on it."""

import os
import shutil
from pathlib import Path

from devcluster.components import containerd
from devcluster.errors import ClusterError

# Program and the Debian package that brings it.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "busybox": "busybox-static",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}


def missing() -> list[str]:
    """Debian packages that this machine lacks."""
    packages = {package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if not (Path(containerd.PLUGINS) / "ptp").exists():
        packages.add("containernetworking-plugins")
    return sorted(packages)


def check() -> None:
    """Raise with a sentence when the cluster could not run here."""
    if os.geteuid() != 0:
        raise ClusterError(
            "the development cluster makes namespaces, links and cgroups: run it as root"
        )
    if lacking := missing():
        raise ClusterError(
            f"this machine lacks {', '.join(lacking)}: "
            f"run `make setup`, or `apt-get install {' '.join(lacking)}`"
        )
