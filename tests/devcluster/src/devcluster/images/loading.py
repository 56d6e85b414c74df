"""One of our images, built and on every node."""

from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.images import build, recipe
from devcluster.images.places import Places


def bring(cluster: Cluster, name: str, root: Path) -> str:
    """Return the reference of `operator`, `trainer` or `server` after building and loading it.

    root: of the sources.
    """
    built = build.ensure(recipe.named(name, "cpu"), root, Places.of_user())
    cluster.load(built.layout)
    return built.reference
