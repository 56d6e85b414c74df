"""Show a DistilledModelRollout while it runs: its share of the traffic and what each test says."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.embedding import screen

POLL_SECONDS = 0.5
ENDS = frozenset({"Promoted", "Completed", "RolledBack", "Failed"})
COLOURS = {"Healthy": "green", "Regressed": "red", "Undecided": "yellow", "NoData": "dim"}
type Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """The status of a rollout at one moment."""

    seconds: float
    """Since the following began."""
    status: Manifest


def follow(
    api: client.CustomObjectsApi, namespace: str, name: str, *, seconds: float
) -> list[Sample]:
    """Show the rollout until it has come to rest; raises TimeoutError where it does not."""
    said: set[str] = set()
    return screen.show(
        _samples(api, namespace, name, seconds),
        lambda sample: Group(Text(_headline(sample.status), style="bold"), table(sample.status)),
        lambda sample: _say_new(sample, said),
    )


def _samples(
    api: client.CustomObjectsApi, namespace: str, name: str, seconds: float
) -> Iterator[Sample]:
    began = time.monotonic()
    where = ("kubedistill.io", "v1alpha1", namespace, "distilledmodelrollouts", name)
    while (passed := time.monotonic() - began) < seconds:
        status = api.get_namespaced_custom_object(*where).get("status", {})
        yield Sample(passed, status)
        if status.get("phase") in ENDS:
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError(
        f"DistilledModelRollout {namespace}/{name} has not come to rest after {seconds:.0f} s:"
        f" look at `kubectl -n {namespace} describe drollout {name}`"
    )


def table(status: Manifest) -> Table:
    """Draw the student's share and the verdict of each metric."""
    grid = Table.grid(padding=(0, 1))
    weight = status.get("weight", {})
    desired = weight.get("desired", 0)
    measured = status.get("columns", {}).get("share") or "-"
    bar = ProgressBar(total=1000, completed=desired, width=30)
    grid.add_row("traffic", bar, f"{desired / 10:g}%", f"measured {measured}")
    for metric in status.get("metrics", []):
        colour = COLOURS.get(metric["verdict"], "white")
        grid.add_row(metric["name"], "", f"[{colour}]{metric['verdict']}", metric["message"])
    return grid


def _headline(status: Manifest) -> str:
    return f"{status.get('phase', 'Pending')}: {status.get('message', '')}"


def _say_new(sample: Sample, said: set[str]) -> None:
    """Print what has not been printed yet, for logs: transitions, verdicts, conditions' reasons."""
    status = sample.status
    transition = status.get("transition", {})
    lines = [f"{transition.get('to', '')} {transition.get('message', '')}"]
    step = status.get("step", {}).get("index", 0)
    lines += (
        f"  step {step} {metric['name']}: {metric['verdict']}: {metric['message']}"
        for metric in status.get("metrics", [])
    )
    for line in lines:
        # Numbers move with each look; a verdict is worth a line only once in a step.
        key = line.partition(": ")[0] + line.partition(": ")[2].partition(": ")[0]
        if line.strip() and key not in said:
            said.add(key)
            print(f"{sample.seconds:6.1f} s {line}")
            sys.stdout.flush()
