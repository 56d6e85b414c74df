"""Real probers between real servers on loopback, with tiny models that rank."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import tiny_models
import torch
from distill_api.probing import Pairs
from sentence_transformers import SentenceTransformer
from servers import Running, settings

QUERIES: Final = 90


class Process:
    """`python -m distill_server.prober` with its log in a file."""

    def __init__(self, log: Path, *flags: str) -> None:
        self.log = log
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "distill_server.prober", *flags],
                stderr=stream,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    @property
    def url(self) -> str:
        ends = time.monotonic() + 300
        while not (found := re.findall(r"running on (http://\S+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.05)
        return found[-1].replace("0.0.0.0", "127.0.0.1")  # noqa: S104

    def until(self, total: int, source: str = "HeldOut") -> Pairs:
        """Wait until so many queries are done with."""
        ends = time.monotonic() + 300
        while time.monotonic() < ends:
            found = httpx.get(f"{self.url}/pairs", params={"source": source})
            if found.status_code == 200 and found.json()["total"] >= total:
                return Pairs.model_validate_json(found.text)
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@dataclass(frozen=True, slots=True)
class World:
    """A teacher, a student as good as it, one that is not, and what they are asked."""

    teacher: Running
    good: Running
    bad: Running
    data: Path

    def flags(self, student: str, *more: str) -> list[str]:
        source = {"uri": f"file://{self.data}"}
        return [
            *("--component", "Embedding", "--model", "tiny", "--host", "127.0.0.1"),
            *("--teacher-url", self.teacher.url, "--student-url", student, "--port", "0"),
            *("--source", json.dumps(source), "--max-queries", str(QUERIES), "--documents", "80"),
            *("--queries-per-minute", "6000", "--measure", "ndcg=nDCG@10", *more),
        ]


def _saved(model: SentenceTransformer, folder: Path) -> Path:
    model.save(str(folder), create_model_card=False)
    return folder


def _damaged() -> SentenceTransformer:
    """Return the teacher with noise in its weights."""
    model = tiny_models.teacher()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 0.6)
    return model


@contextlib.contextmanager
def served(folder: Path) -> Iterator[World]:
    """Serve the teacher, and as students its copy and the damaged one."""
    whole = _saved(tiny_models.teacher(), folder / "whole")
    damaged = _saved(_damaged(), folder / "damaged")
    data = folder / "held-out.jsonl"
    tiny_models.write_data(data, records=150)
    servers = [
        Running(settings(model, runtime="Torch", arm=arm))
        for model, arm in ((whole, "teacher"), (whole, "student"), (damaged, "student"))
    ]
    yield World(*servers, data)
    for one in servers:
        one.stop()


@contextlib.contextmanager
def killed_at_the_end() -> Iterator[list[Process]]:
    """Yield a list of processes that end with the test."""
    running: list[Process] = []
    yield running
    for one in running:
        one.process.kill()
        one.process.wait()
