"""Several pods label one data set: the same labels as by one, each made once, one result."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_trainer import context as contexts
from distill_trainer.context import Places
from distill_trainer.labelling import asking, claims, shards
from distill_trainer.process import RUN
from distill_trainer.storage import Folder
from stage_jobs import Job, Told, generating_job, ranking_job

PODS = 2


def embedding_job(root: Path) -> Job:
    tiny_models.teacher(layers=2).save_pretrained(str(root / "teacher"))
    return Job(root / "job", root / "teacher")


JOBS: dict[str, Callable[[Path], Job]] = {
    "embedding": embedding_job,
    "reranker": ranking_job,
    "generator": generating_job,
}


class Pod:
    """One pod of a label stage, as a thread with folders of its own."""

    def __init__(self, job: Job, index: int, workspace: str) -> None:
        task = Task.model_validate(
            {
                "stage": "Label",
                "job": {"namespace": "team", "name": "tiny", "uid": "u"},
                "spec": job.spec | {"podTemplate": {"labelPods": PODS}},
                "workspace": f"file://{job.root}/{workspace}",
            }
        )
        own = job.root / f"{workspace}-pod-{index}"
        stop = threading.Event()
        self.told = Told(stop)
        places = Places(own / "scratch", job.root / "volumes", job.root / "secrets")
        self.context = replace(contexts.build(task, places, self.told, stop), pod=index)
        self.report: Report | None = None
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        self.report = RUN[Stage.LABEL](self.context)


def content(job: Job, workspace: str) -> dict[str, bytes]:
    """Return the files of the labels, without the manifest, which tells of time."""
    (folder,) = (job.root / workspace).glob("label-*")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name != "manifest.json"
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small pieces, and look for those of others all the time."""
    monkeypatch.setattr(shards, "SIZE", 16)
    monkeypatch.setattr(asking.plan, "__defaults__", (8,))


@pytest.mark.parametrize("kind", JOBS)
def test_pods_make_the_labels_of_one_pod(
    kind: str, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
):
    job = JOBS[kind](tmp_path)
    alone = Pod(job, 0, "alone")
    alone.work()
    taken: dict[str, list[int]] = {}
    take = claims.Claims.take

    def counted(self: claims.Claims, piece: Any, now: float) -> bool:
        got = take(self, piece, now)
        if got:
            taken.setdefault(self.owner, []).append(piece.number)
        return got

    monkeypatch.setattr(claims.Claims, "take", counted)
    pods = [Pod(job, index, "together") for index in range(PODS)]
    for pod in reversed(pods):
        pod.thread.start()
    for pod in pods:
        pod.thread.join(300)
    first, second = pods[0].report, pods[1].report
    assert first is not None
    assert second is not None
    assert content(job, "together") == content(job, "alone")
    assert set(taken) == {"u/0", "u/1"}, "both worked"
    assert (first.share, second.share) == (False, True)
    assert alone.report is not None
    assert first.usage.teacher_tokens == alone.report.usage.teacher_tokens
    assert second.usage.teacher_tokens is None
    assert (job.root / "together/label.json").exists()


class Piece:
    """A piece of a work."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, f"shards/{number}"


def test_in_an_object_store_pods_divide_by_number(tmp_path: Path):
    remote = Folder("s3://b/x", tmp_path, filesystem=object())
    taken = [
        [n for n in range(6) if claims.Claims.of_pod(remote, "u", 3, pod).take(Piece(n), 0.0)]
        for pod in range(3)
    ]
    assert taken == [[0, 3], [1, 4], [2, 5]]


def test_the_first_pod_counts_what_the_others_made(tmp_path: Path):
    folder = Folder(f"file://{tmp_path}", tmp_path)
    plan, made, seen = [Piece(n) for n in range(5)], {1, 3}, list[int]()
    own = claims.Claims.of_pod(folder, "u", 2, 0)
    claims.Claims.of_pod(folder, "u", 2, 1).take(plan[2], 1e12)
    mine = []
    for piece in claims.open_ones(
        plan, own, lambda p: p.number in made, lambda p: seen.append(p.number), pause=0
    ):
        if piece is None:
            made.add(2)  # the other pod is done
            continue
        mine.append(piece.number)
        made.add(piece.number)
        own.release(piece)
    assert (mine, sorted(seen)) == ([0, 4], [1, 2, 3])
