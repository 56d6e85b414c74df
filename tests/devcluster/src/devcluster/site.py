"""A running cluster as an add-on is installed into it: its API, its nodes' image stores, Helm."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import kubectl, store
from devcluster.components import Context
from devcluster.images.build import Built


@dataclass(frozen=True, slots=True)
class Site:
    """Where an add-on is installed."""

    context: Context
    stores: tuple[store.Ctr, ...]
    """containerd's client in each node."""
    say: Callable[[str], None]

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl as administrator and return what it printed."""
        program = self.context.binaries.find("kubernetes", "kubectl")
        return kubectl.run(program, self.context.paths.kubeconfig, *words, stdin=stdin)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects by server-side apply."""
        manifest = kubectl.manifest(*objects)
        self.kubectl("apply", "--server-side", "--filename", "-", stdin=manifest)

    def helm_install(self, name: str, chart: Path, *, namespace: str, values: object) -> None:
        """Install or upgrade a release and wait until what it made is ready."""
        words = ("upgrade", "--install", name, str(chart), "--namespace", namespace, "--wait")
        program = self.context.binaries.find("helm")
        given = (*words, "--timeout", "180s", "--values", "-")
        kubectl.run(program, self.context.paths.kubeconfig, *given, stdin=json.dumps(values))

    def load(self, *images: Built) -> None:
        """Bring images into every node that lacks them."""
        for ctr in self.stores:
            present = store.images(ctr)
            for image in images:
                if image.reference not in present:
                    store.import_image(ctr, image.layout)
