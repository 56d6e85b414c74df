"""Runs the stages of an example's job in this process, where no cluster is at hand.

The trainer is the one of the images; what the operator does between two stages is left out.
"""

import threading
import time
from pathlib import Path
from typing import Any

import yaml
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_operator.plan import stages
from distill_trainer import context as contexts
from distill_trainer import process as trainer
from distill_trainer.context import Places
from distill_trainer.progress import Progress

type Job = dict[str, Any]
"""A DistillationJob as it stands in its file."""


def read(file: Path, *, teacher: Path, data: Path) -> Job:
    """Read a job, and let it take its teacher and data from this machine."""
    job: Job = yaml.safe_load(file.read_text(encoding="utf-8"))
    job["spec"]["teacher"]["model"]["uri"] = f"file://{teacher}"
    job["spec"]["data"]["source"]["uri"] = f"file://{data}"
    return job


def run(job: Job, folder: Path, *, threads: int) -> dict[Stage, Report]:
    """Run every stage of a job; what is complete already is not done again.

    folder: gets the stages' outputs, and what is published in the claim `models`. threads: of
    tensor operations; the order of sums depends on them. Raises what the stage raises.
    """
    places = Places(folder / "scratch", folder / "volumes", folder / "secrets")
    published(folder).mkdir(parents=True, exist_ok=True)
    reports = {}
    for stage in stages.wanted(DistillationJobSpec.model_validate(job["spec"])):
        task = Task.model_validate(
            {
                "stage": stage,
                "job": {"namespace": "default", "name": job["metadata"]["name"], "uid": "local"},
                "spec": job["spec"],
                "workspace": f"file://{folder}/workspace",
                "threads": threads,
            }
        )
        began = time.monotonic()
        context = contexts.build(task, places, Progress(), threading.Event())
        reports[stage] = trainer.RUN[stage](context)
        taken = time.monotonic() - began
        print(f"== {stage.value} {taken:.0f} s: {reports[stage].summary}", flush=True)
    return reports


def published(folder: Path) -> Path:
    """Return where the job's claim `models` is."""
    return folder / "volumes" / "models"
