"""Trials side by side: pods take them in turns from one journal, and the first one finishes."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Stage
from distill_api.status import SweepStatus
from distill_api.wire import Report
from distill_trainer.context import Context, Places
from distill_trainer.errors import TryAgain
from distill_trainer.labelling import claims
from distill_trainer.progress import Progress
from distill_trainer.sweeping import run, trials
from trainer import a_context, a_prepared, a_task

TRIALS = 6
SWEEP: dict[str, Any] = {
    "algorithm": "Random",
    "parameters": [{"path": "training.seed", "min": 1, "max": 999}],
    "maxTrials": TRIALS,
    "parallelTrials": 2,
    "prune": False,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the other pods all the time."""
    monkeypatch.setattr(run, "WAIT_SECONDS", 0.02)
    monkeypatch.setattr(trials, "LOOK_SECONDS", 0.0)


class Told(Progress):
    """Remembers what was said of the sweep."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[SweepStatus] = []

    def _say(self, *arguments: Any, **named: Any) -> None:
        super()._say(*arguments, **named)
        if self.sweep is not None:
            self.seen.append(self.sweep)


def wait_until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


class Pods:
    """Pods of one train stage as threads, with a training that takes a moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = a_task(folder, Stage.TRAIN, sweep=SWEEP, cache=False)
        a_prepared(a_context(self.task, folder))
        self.trained: list[tuple[int, int]] = []
        """Pod and trial, whenever one was trained to its end."""
        self.begun: set[int] = set()
        """Pods that have begun a trial."""
        self.lost: set[int] = set()
        """Pods that are lost in their next trial."""
        self.told = Told()
        self.meet = False
        """Whether each pod goes on only when the other one has been seen at work."""

    def context(self, pod: int) -> Context:
        made = a_context(self.task, self.folder)
        scratch = self.folder / f"pod-{pod}"
        places = Places(scratch, made.places.volumes, made.places.secrets)
        progress = self.told if pod == 0 else Progress()
        return replace(made, pod=pod, places=places, progress=progress)

    def both_seen(self) -> bool:
        return any(status.running == 2 for status in self.told.seen)

    def work(self, pod: int) -> Report:
        return run.run(self.context(pod), lambda context: self.train(pod, context))

    def train(self, pod: int, context: Context) -> Report:
        number = int(context.workspace.folder.path.name)
        context.progress.tell(1, 2, {}, "train")
        self.begun.add(pod)
        if self.meet:
            wait_until(lambda: self.both_seen() if pod else 1 in self.begun)
        if pod in self.lost:
            self.lost.discard(pod)
            raise KeyboardInterrupt  # as a killed process: nobody tells the journal
        draft = context.workspace.draft(Stage.TRAIN, f"sha256:{number:064d}")
        (draft.path / "student.bin").write_bytes(bytes([number]))
        self.trained.append((pod, number))
        score = context.task.spec.training.seed / 1000
        report = Report(
            stage=Stage.TRAIN, outcome="Done", facts={trials.SCORE: str(score)}, summary="trained"
        )
        return draft.commit(report)


def test_two_pods_train_every_trial_once_and_the_first_one_keeps_the_best(tmp_path: Path):
    pods = Pods(tmp_path)
    pods.meet = True
    reports: dict[int, Report] = {}
    threads = [
        threading.Thread(target=lambda pod=pod: reports.update({pod: pods.work(pod)}))
        for pod in (1, 0)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(number for _, number in pods.trained) == list(range(TRIALS))
    assert {pod for pod, _ in pods.trained} == {0, 1}
    found = reports[0].sweep
    assert reports[1].share
    assert found is not None
    assert (found.trials, found.running, found.failed) == (TRIALS, 0, 0)
    assert found.best == found.leaders[0].number
    output = pods.context(0).workspace.output(Stage.TRAIN)
    assert (output.path / "student.bin").read_bytes() == bytes([found.best])
    assert pods.both_seen(), "both are counted on the way"


def test_a_lost_pods_trial_is_taken_up_by_its_replacement_and_by_nobody_before(tmp_path: Path):
    pods = Pods(tmp_path)
    pods.lost.add(1)
    with pytest.raises(KeyboardInterrupt):
        pods.work(1)
    folder = next((tmp_path / "workspace").rglob(run.TRIALS))
    # A killed process does not let go of its claim.
    held = claims.Claims(replace(pods.context(1).workspace.folder, path=folder), "uid-1/1")
    assert held.take(trials.Numbered(0), time.time())
    first = threading.Thread(target=pods.work, args=(0,))
    first.start()
    while len(pods.trained) < TRIALS - 1:
        time.sleep(0.01)
    time.sleep(0.2)
    assert (0, 0) not in pods.trained
    assert first.is_alive(), "the first pod waits for the trial of the lost one"
    pods.work(1)
    first.join(60)
    assert (1, 0) in pods.trained
    assert sorted(number for _, number in pods.trained) == list(range(TRIALS))


def test_an_evicted_pod_lets_its_trial_go(tmp_path: Path):
    pods = Pods(tmp_path)
    context = pods.context(0)
    context.stop.set()

    def train(one: Context) -> Report:
        one.check_stop()
        raise AssertionError

    with pytest.raises(TryAgain):
        run.run(context, train)
    assert not list(tmp_path.rglob("*.claim"))


@pytest.mark.parametrize("error", [FileNotFoundError("journal.log"), RuntimeError("no lock")])
def test_a_further_pod_ends_well_only_where_the_trials_were_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    monkeypatch.setattr(run, "REMOVAL_SECONDS", 0.1)
    pods = Pods(tmp_path)

    def fails(_: Context) -> Report:
        raise error

    with pytest.raises(type(error), match=str(error)):
        run.run(pods.context(1), fails)

    def removed(context: Context) -> Report:
        shutil.rmtree(context.workspace.folder.path.parent)
        raise error

    assert run.run(pods.context(1), removed).share
