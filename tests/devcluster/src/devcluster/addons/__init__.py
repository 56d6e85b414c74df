"""What can be raised beside the bare cluster."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devcluster.addons import gateway
from devcluster.components import Component, Context, prometheus, registry
from devcluster.errors import ClusterError
from devcluster.site import Site


@dataclass(frozen=True, slots=True)
class Addon:
    """An add-on is a process of the host, or something that is installed into the cluster."""

    component: Callable[[Context], Component] | None = None
    install: Callable[[Site], None] | None = None


AVAILABLE: dict[str, Addon] = {
    "gateway": Addon(install=gateway.install),
    "prometheus": Addon(component=prometheus.component),
    "registry": Addon(component=registry.component),
}


def check(names: Iterable[str]) -> frozenset[str]:
    """Return the add-ons by name; raise with a sentence for one that does not exist."""
    wanted = frozenset(names)
    for name in sorted(wanted - AVAILABLE.keys()):
        known = ", ".join(sorted(AVAILABLE))
        raise ClusterError(f"there is no add-on {name!r}; expected one of: {known}")
    return wanted


def components(context: Context, names: Iterable[str]) -> list[Component]:
    """Return the processes of these add-ons."""
    return [addon.component(context) for addon in _chosen(names) if addon.component]


def install(site: Site, names: Iterable[str]) -> None:
    """Install what these add-ons bring into the cluster; what is there stays as it is."""
    for addon in _chosen(names):
        if addon.install:
            addon.install(site)


def _chosen(names: Iterable[str]) -> list[Addon]:
    return [AVAILABLE[name] for name in names]
