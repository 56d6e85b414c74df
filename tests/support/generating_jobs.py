"""A job of any component whose stages run in the test's process, through to its publication."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_trainer import context as contexts
from distill_trainer.context import Places
from distill_trainer.process import RUN
from distill_trainer.progress import Number, Progress

STAGES: Final = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)


class Stopping(Progress):
    """Asks the stage to end after so many tellings of one kind."""

    def __init__(self, stop: threading.Event, what: str, at: float | None) -> None:
        super().__init__()
        self.stop, self.what, self.at = stop, what, at

    def tell(
        self, done: float, total: float, metrics: Mapping[str, Number] | None = None, what: str = ""
    ) -> None:
        super().tell(done, total, metrics, what)
        if what == self.what and self.at is not None and done >= self.at:
            self.stop.set()


class Job:
    """A job below a folder."""

    gpus = 0
    """Accelerators that its pods are given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec: dict[str, Any] = {}
        (root / "volumes/models").mkdir(parents=True, exist_ok=True)

    def run(self, stage: Stage, what: str = "", at: float | None = None) -> Report:
        """Run a stage. what, at: when the pod is asked to end."""
        task = Task.model_validate(
            {
                "stage": stage,
                "job": {"namespace": "team", "name": "tiny", "uid": "u"},
                "spec": self.spec,
                "workspace": f"file://{self.root}/workspace",
                "gpus": self.gpus,
            }
        )
        places = Places(self.root / "scratch", self.root / "volumes", self.root / "secrets")
        stop = threading.Event()
        return RUN[stage](contexts.build(task, places, Stopping(stop, what, at), stop))

    def output(self, stage: Stage) -> Path:
        """Return the folder of a stage's output."""
        pointer = json.loads((self.root / f"workspace/{stage.value.lower()}.json").read_text())
        return Path(pointer["folder"].removeprefix("file://"))
