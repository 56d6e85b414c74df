"""A real Kubernetes on one bare Linux machine, for the demo and the cluster tests."""

from devcluster.cluster import Cluster
from devcluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError"]
