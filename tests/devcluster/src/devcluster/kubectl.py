"""Run kubectl and turn its failure into a sentence."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster.errors import ClusterError


def manifest(*objects: Mapping[str, Any]) -> str:
    """Return objects as what `kubectl apply -f -` and `helm --values -` read.

    JSON, as Python's YAML leaves strings such as `12345e67` bare, which Go reads as numbers.
    """
    return "\n---\n".join(map(json.dumps, objects))


def run(program: str, kubeconfig: Path, *words: str, stdin: str = "") -> str:
    """Return what kubectl printed; raise with its message when it fails."""
    done = subprocess.run(
        [program, "--kubeconfig", str(kubeconfig), *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(
            f"`kubectl {' '.join(words)}` ended with exit status {done.returncode}: "
            f"{done.stderr.strip()}"
        )
    return done.stdout
