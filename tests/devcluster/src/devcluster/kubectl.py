"""Run kubectl and turn its failure into a sentence."""

import subprocess
from pathlib import Path

from devcluster.errors import ClusterError


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
