"""Prometheus: counters of every pod that says where they are."""

import json
from typing import Any

from devcluster import ports
from devcluster.components import Component, Context
from devcluster.process import Health, Spec

URL = f"http://{ports.PROMETHEUS}"
EVERY = "5s"


def component(context: Context) -> Component:
    """Return one server that host and pods reach under one address; its data ends with `down`."""
    file = context.paths.configs / "prometheus.yaml"
    argv = (
        context.binaries.find("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={context.paths.state / 'prometheus'}",
        f"--web.listen-address={ports.PROMETHEUS}",
        "--log.level=warn",
    )
    spec = Spec("prometheus", argv, Health(f"{URL}/-/ready"))
    # JSON is YAML, and needs no second writer.
    files = {file: json.dumps(config(context), indent=2)}
    return Component(spec, files=files, ports=(ports.PROMETHEUS,))


def config(context: Context) -> dict[str, Any]:
    """Scrape each running pod with the usual annotations `prometheus.io/scrape`, `port`, `path`."""
    pods = {"role": "pod", "kubeconfig_file": context.pki("prometheus.kubeconfig")}
    job = {
        "job_name": "pods",
        "kubernetes_sd_configs": [pods],
        "relabel_configs": [*_chosen(), *_addressed(), *_named()],
    }
    return {
        "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY},
        "scrape_configs": [job],
    }


def _chosen() -> list[dict[str, Any]]:
    """Keep pods that ask for it; a pod of several ports is a target for each, so keep one."""
    asks = "__meta_kubernetes_pod_annotation_prometheus_io_scrape"
    return [
        {"source_labels": [asks], "action": "keep", "regex": "true"},
        {
            "source_labels": ["__meta_kubernetes_pod_phase"],
            "action": "drop",
            "regex": "Pending|Succeeded|Failed",
        },
    ]


def _addressed() -> list[dict[str, Any]]:
    """Take port and path from the annotations; targets of the same address become one."""
    note = "__meta_kubernetes_pod_annotation_prometheus_io"
    return [
        {
            "source_labels": ["__meta_kubernetes_pod_ip", f"{note}_port"],
            "regex": "(.+);(.+)",
            "replacement": "$1:$2",
            "target_label": "__address__",
        },
        {
            "source_labels": [f"{note}_path"],
            "regex": "(.+)",
            "target_label": "__metrics_path__",
        },
    ]


def _named() -> list[dict[str, Any]]:
    """Carry the pod's labels and say which pod it is."""
    which = {"namespace": "__meta_kubernetes_namespace", "pod": "__meta_kubernetes_pod_name"}
    return [
        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
        *({"source_labels": [source], "target_label": target} for target, source in which.items()),
    ]
