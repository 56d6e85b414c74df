"""local-path-provisioner: volumes as folders of the node that first needs them."""

import json

from devcluster import busybox
from devcluster.components import Component, Context, flags
from devcluster.process import Health, Spec

NAMESPACE = "local-path-storage"
VOLUMES = "/opt/local-path-provisioner"
"""Where a node keeps its volumes; the node's mount namespace puts its own folder there."""
SMALL_VOLUMES = "/run/small-volumes"
"""A disk of `SMALL_DISK_MIB` in memory, for tests of a full volume."""
SMALL_DISK_MIB = 64

HELPER_POD = f"""apiVersion: v1
kind: Pod
metadata:
  name: helper-pod
spec:
  priorityClassName: system-node-critical
  tolerations:
    - operator: Exists
  containers:
    - name: helper-pod
      image: {busybox.REFERENCE}
"""


def component(context: Context) -> Component:
    """Return the provisioner, a process of the host; its helper pods make and remove folders."""
    config, helper = (context.paths.configs / f"local-path.{end}" for end in ("json", "yaml"))
    node = {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [VOLUMES, SMALL_VOLUMES]}
    options = flags(
        kubeconfig=context.pki("local-path-provisioner.kubeconfig"),
        namespace=NAMESPACE,
        configmap_name="local-path-config",
        service_account_name="local-path-helper",
        helper_image=busybox.REFERENCE,
        config=config,
        helper_pod_file=helper,
    )
    argv = (context.binaries.find("local-path-provisioner"), "start", *options)
    # It has no health endpoint; a living process is all that can be asked for.
    return Component(
        Spec("local-path-provisioner", argv, Health(), env={"POD_NAMESPACE": NAMESPACE}),
        files={config: json.dumps({"nodePathMap": [node]}), helper: HELPER_POD},
    )
