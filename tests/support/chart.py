"""Renders the chart with the real Helm."""

import shutil
import subprocess
from typing import Any

import yaml
from devcluster import kubectl, paths
from distill_api.generate import files

CHART = files.ROOT / "charts" / "kubedistill"
# The definition alone has thousands of lines; libyaml reads them many times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RELEASE, NAMESPACE = "kubedistill", "kubedistill-system"


def helm() -> str | None:
    """Return the path of Helm: the newest that the development cluster built, or the machine's."""
    built = sorted(
        paths.default().programs.glob("helm-*/helm"), key=lambda found: found.stat().st_mtime
    )
    return str(built[-1]) if built else shutil.which("helm")


def run(*words: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Return what `helm WORDS` answered, with values given as a file on standard input."""
    command = [helm() or "helm", *words, *(["--values", "-"] if values is not None else [])]
    return subprocess.run(
        command,
        input=kubectl.manifest(values) if values is not None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def render(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the objects that the chart makes. Raises ValueError with Helm's refusal."""
    place = ("--namespace", NAMESPACE, "--kube-version", "1.36.0")
    answer = run("template", RELEASE, str(CHART), *place, values=values or {})
    if answer.returncode:
        raise ValueError(answer.stderr)
    return [document for document in yaml.load_all(answer.stdout, _LOADER) if document]


def only(objects: list[dict[str, Any]], kind: str, ending: str = "") -> dict[str, Any]:
    """Return the one object of this kind whose name ends so."""
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(ending))
    return found
