"""Show a DistillationJob while it runs: a line for each stage, live in a terminal."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from kubernetes import client
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.embedding import screen

POLL_SECONDS = 1.0
MARKS = {"Complete": "[green]✔", "Failed": "[red]✘", "Running": "[cyan]●", "Retrying": "[yellow]↻"}
type Manifest = dict[str, Any]


class JobGone(Exception):
    """The job was deleted while it was followed."""


def states(
    api: client.CustomObjectsApi, namespace: str, name: str, *, seconds: float
) -> Iterator[Manifest]:
    """Yield the job each second until it has ended; raises TimeoutError and JobGone."""
    until = time.monotonic() + seconds
    where = ("kubedistill.io", "v1alpha1", namespace, "distillationjobs", name)
    while time.monotonic() < until:
        try:
            job = api.get_namespaced_custom_object(*where)
        except client.ApiException as error:
            if error.status == 404:
                raise JobGone(f"DistillationJob {namespace}/{name} is gone") from error
            raise
        yield job
        if condition(job, "Succeeded").get("status") in {"True", "False"}:
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"DistillationJob {namespace}/{name} has not ended after {seconds:.0f} s")


def condition(job: Manifest, kind: str) -> Manifest:
    """Return a condition of the job, empty where it has none."""
    conditions = job.get("status", {}).get("conditions", [])
    found: Manifest = next((entry for entry in conditions if entry["type"] == kind), {})
    return found


def follow(api: client.CustomObjectsApi, namespace: str, name: str, *, seconds: float) -> Manifest:
    """Show the job until it has ended; return it as it ended."""
    said: set[str] = set()
    seen = screen.show(
        states(api, namespace, name, seconds=seconds),
        lambda job: Group(Text(_headline(job), style="bold"), table(job)),
        lambda job: _say_new(job, said),
    )
    return seen[-1] if seen else {}


def table(job: Manifest) -> Table:
    """Draw the stages with their bars."""
    grid = Table.grid(padding=(0, 1))
    for stage in job.get("status", {}).get("stages", []):
        percent = 100 if stage["state"] == "Complete" else _percent(stage)
        grid.add_row(
            MARKS.get(stage["state"], "[dim]·"),
            stage["name"],
            ProgressBar(total=100, completed=percent, width=30),
            f"{percent:3d}%",
            _detail(stage),
        )
    return grid


def _say_new(job: Manifest, said: set[str]) -> None:
    """Print what has not been printed yet, for logs: each state, and every tenth percent."""
    for stage in job.get("status", {}).get("stages", []):
        step = _percent(stage) // 10 * 10
        key = f"{stage['name']} {stage['state']} {step if stage['state'] == 'Running' else ''}"
        if stage["state"] == "Pending" or key in said:
            continue
        said.add(key)
        print(f"{stage['name']:9} {stage['state']:9} {_percent(stage):3d}% {_detail(stage)}")
        sys.stdout.flush()


def _headline(job: Manifest) -> str:
    status = job.get("status", {})
    return (
        f"{job['metadata']['name']}: {status.get('phase', 'Pending')} {status.get('progress', '')}"
    )


def _percent(stage: Manifest) -> int:
    return int(stage.get("progress", {}).get("percent", 100 * (stage["state"] == "Complete")))


def _detail(stage: Manifest) -> str:
    """Return what came out, or what is wrong, or how far it is."""
    if stage["state"] == "Complete":
        return str(stage.get("summary", ""))
    if stage.get("message"):
        return str(stage["message"])
    progress = stage.get("progress", {})
    numbers = [f"{metric['name']} {metric['value']}" for metric in progress.get("metrics", [])]
    if "remainingSeconds" in progress:
        numbers.append(f"{progress['remainingSeconds']} s left")
    return ", ".join(numbers)
