"""distribution: an OCI registry that host, nodes and pods reach under one name."""

import json

from devcluster import ports
from devcluster.components import Component, Context
from devcluster.process import Health, Spec

ADDRESS = str(ports.REGISTRY)


def component(context: Context) -> Component:
    """Return a registry over plain HTTP; what was pushed outlives the cluster."""
    file = context.paths.configs / "registry.yaml"
    # JSON is YAML, and needs no second writer.
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": str(context.paths.registry)},
            "delete": {"enabled": True},
        },
        "http": {"addr": ADDRESS, "relativeurls": True},
    }
    spec = Spec(
        "registry",
        (context.binaries.find("registry"), "serve", str(file)),
        Health(f"http://{ADDRESS}/v2/"),
        # Version 3 exports traces to a collector by default; there is none.
        env={"OTEL_TRACES_EXPORTER": "none"},
    )
    return Component(spec, files={file: json.dumps(config, indent=2)}, ports=(ports.REGISTRY,))
