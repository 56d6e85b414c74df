"""What can be raised beside the bare cluster."""

from collections.abc import Callable, Iterable

from devcluster.components import Component, Context, registry
from devcluster.errors import ClusterError

AVAILABLE: dict[str, Callable[[Context], Component]] = {"registry": registry.component}
LATER = ("gateway", "prometheus")


def check(names: Iterable[str]) -> frozenset[str]:
    """Return the add-ons by name; raise with a sentence for one that does not exist (yet)."""
    wanted = frozenset(names)
    for name in sorted(wanted - AVAILABLE.keys()):
        if name in LATER:
            raise ClusterError(f"the add-on {name!r} comes with the rollout work; leave it out")
        known = ", ".join(sorted(AVAILABLE))
        raise ClusterError(f"there is no add-on {name!r}; expected one of: {known}")
    return wanted
