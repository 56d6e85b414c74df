"""The images that tests run: ours, or those that a foreign cluster already has."""

import os

from devcluster import Cluster
from devcluster.images import loading
from distill_api.generate import files


def image(cluster: Cluster, name: str) -> str:
    """Return the reference of `operator`, `trainer` or `server`, which the cluster's nodes have.

    The variable KUBEDISTILL_TRAINER_IMAGE, for example, names another one.
    """
    given = os.environ.get(f"KUBEDISTILL_{name.upper()}_IMAGE")
    return given or loading.bring(cluster, name, files.ROOT)
