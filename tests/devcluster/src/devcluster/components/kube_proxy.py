"""kube-proxy: service addresses, by nftables."""

from typing import Any

import yaml

from devcluster import addresses, ports
from devcluster.components import Component, Context
from devcluster.process import Health, Spec


def config(context: Context, node: str) -> dict[str, Any]:
    """KubeProxyConfiguration of one node."""
    address = addresses.node_address(node)
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": context.pki("kube-proxy.kubeconfig")},
        "clusterCIDR": str(addresses.PODS),
        "hostnameOverride": node,
        "healthzBindAddress": f"{address}:{ports.KUBE_PROXY_HEALTH}",
        "metricsBindAddress": f"{address}:{ports.KUBE_PROXY_METRICS}",
        # The limits of connection tracking belong to the machine, not to this node.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
    }


def component(context: Context, node: str, enter: tuple[str, ...]) -> Component:
    """Return the node's kube-proxy."""
    file = context.paths.configs / node / "kube-proxy.yaml"
    argv = (*enter, context.binaries.find("kubernetes", "kube-proxy"), f"--config={file}")
    port = ports.KUBE_PROXY_HEALTH
    health = Health(f"http://{addresses.node_address(node)}:{port}/livez")
    return Component(
        Spec(f"{node}/kube-proxy", argv, health),
        files={file: yaml.safe_dump(config(context, node))},
    )
