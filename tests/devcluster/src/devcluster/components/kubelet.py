"""kubelet: runs the pods that the API server assigned to its node."""

from typing import Any

import yaml

from devcluster import addresses, cgroups, ports
from devcluster.components import Component, Context, containerd, flags
from devcluster.process import Health, Spec

ROOT = "/var/lib/kubelet"


def config(context: Context, node: str) -> dict[str, Any]:
    """KubeletConfiguration of one node."""
    address = str(addresses.node_address(node))
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": ports.KUBELET,
        "healthzBindAddress": address,
        "healthzPort": ports.KUBELET_HEALTH,
        "tlsCertFile": context.pki(f"{node}.crt"),
        "tlsPrivateKeyFile": context.pki(f"{node}.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": context.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [str(addresses.DNS_SERVICE)],
        "clusterDomain": addresses.DOMAIN,
        "resolvConf": str(context.paths.configs / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.PARENT}/{node}",
        "volumePluginDir": f"{ROOT}/volume-plugins",
        **_lenient(),
        **_prompt(),
    }


def component(context: Context, node: str, enter: tuple[str, ...]) -> Component:
    """Return the node's kubelet."""
    address = addresses.node_address(node)
    file = context.paths.configs / node / "kubelet.yaml"
    options = flags(
        config=file,
        kubeconfig=context.pki(f"{node}.kubeconfig"),
        hostname_override=node,
        node_ip=address,
    )
    argv = (*enter, context.binaries.find("kubernetes", "kubelet"), *options)
    health = Health(f"http://{address}:{ports.KUBELET_HEALTH}/healthz")
    return Component(
        Spec(f"{node}/kubelet", argv, health),
        files={
            file: yaml.safe_dump(config(context, node)),
            context.paths.configs / "resolv.conf": f"nameserver {addresses.HOST}\n",
        },
    )


def _lenient() -> dict[str, Any]:
    """Return settings for a machine that is not a dedicated node."""
    return {
        "failCgroupV1": False,
        "failSwapOn": False,
        # Without CAP_SYS_RESOURCE the score can only rise.
        "oomScoreAdj": 0,
        # A developer's disk is often nearly full, and a collected image would have to be
        # imported again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
    }


def _prompt() -> dict[str, Any]:
    """Return settings that let a test wait less."""
    return {
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 20,
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "crashLoopBackOff": {"maxContainerRestartPeriod": "20s"},
    }
