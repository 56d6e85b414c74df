"""Jobs of students on tiny teachers, whose stages run in the test's process."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tiny_causal
import tiny_models
import tiny_rankers
from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_trainer import context as contexts
from distill_trainer.context import Context, Places
from distill_trainer.process import RUN
from distill_trainer.progress import Number, Progress
from distill_trainer.students import causal
from safetensors.numpy import load_file
from trainer import write_jsonl

STAGES = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE)


class Told(Progress):
    """Remembers the steps it was told of, and stops the stage at one of them."""

    def __init__(self, stop: threading.Event, at: float | None = None) -> None:
        super().__init__()
        self.stop, self.at, self.steps = stop, at, list[float]()

    def tell(
        self, done: float, total: float, metrics: Mapping[str, Number] | None = None, what: str = ""
    ) -> None:
        super().tell(done, total, metrics, what)
        if what.endswith("train"):
            self.steps.append(done)
        if what.endswith("train") and done == self.at:
            self.stop.set()


class Job:
    """A job's stages, run in this process."""

    gpus = 0
    """Accelerators that its pods are given."""

    def __init__(self, root: Path, teacher: Path, **spec: object) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        data = root / "data.jsonl"
        tiny_models.write_data(data)
        self.spec: dict[str, Any] = {
            "component": "Embedding",
            "teacher": {"model": {"uri": f"file://{teacher}"}},
            "student": {
                "fromTeacher": {"keepLayers": [0, 2], "hiddenSize": 16},
                "embeddingDimension": 12,
            },
            "data": {"source": {"uri": f"file://{data}"}},
            "recipe": {"embedding": {"mse": {"weight": 10}, "matryoshka": {"dimensions": [6]}}},
            "training": {"maxSteps": 8, "batchSize": 16, "checkpointSteps": 3},
            "evaluation": {"latencyRequests": 10, "bootstrapSamples": 100},
            "publish": [{"pvc": {"claimName": "models"}}],
        } | spec

    def run(
        self, stage: Stage, at: float | None = None, spec: Mapping[str, object] | None = None
    ) -> tuple[Report, Told]:
        """Run a stage.

        at: after which training step (of a sweep: trials and shares of them) the pod has to end.
        spec: another one than the job's own.
        """
        stop = threading.Event()
        told = Told(stop, at)
        return RUN[stage](self._context(stage, spec or self.spec, told)), told

    def context(self, stage: Stage) -> Context:
        """Return what a stage is given."""
        return self._context(stage, self.spec, Told(threading.Event()))

    def _context(self, stage: Stage, spec: Mapping[str, object], told: Told) -> Context:
        task = Task.model_validate(
            {
                "stage": stage,
                "job": {"namespace": "team", "name": "tiny", "uid": "u"},
                "spec": spec,
                "workspace": f"file://{self.root}/workspace",
                "gpus": self.gpus,
            }
        )
        places = Places(self.root / "scratch", self.root / "volumes", self.root / "secrets")
        return contexts.build(task, places, told, told.stop)

    def output(self, stage: Stage) -> Path:
        """Return the folder of a stage's output."""
        pointer = json.loads((self.root / f"workspace/{stage.value.lower()}.json").read_text())
        return Path(pointer["folder"].removeprefix("file://"))

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights of the trained student."""
        files = sorted((self.output(Stage.TRAIN) / "student").rglob("*.safetensors"))
        assert len(files) == 2
        return {f"{n}.{k}": w for n, f in enumerate(files) for k, w in load_file(f).items()}


def ranking_job(root: Path) -> Job:
    """Make a reranker's job with a teacher and data of its own."""
    tiny_rankers.teacher().save(str(root / "teacher"))
    job = Job(root / "job", root / "teacher", component="Reranker")
    tiny_rankers.write_data(job.root / "data.jsonl")
    job.spec["recipe"] = {"reranker": {"listwiseKl": {}, "marginMse": {"weight": 0.1}}}
    job.spec["student"] = {"fromTeacher": {"keepLayers": [0]}}
    return job


def generating_job(root: Path) -> Job:
    """Make a generator's job with a teacher that was taught to answer its data."""
    causal.save(tiny_causal.taught(tiny_causal.model(), 90), root / "teacher")
    job = Job(root / "job", root / "teacher", component="Generator")
    write_jsonl(job.root / "data.jsonl", tiny_causal.rows(90))
    job.spec["teacher"]["sampling"] = {"temperature": 0.3, "maxTokens": 8, "topLogprobs": 16}
    job.spec["recipe"] = {"generator": {"logits": {}}}
    job.spec["student"] = {"fromTeacher": {"keepLayers": [0, 3]}}
    return job
