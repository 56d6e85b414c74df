"""Each strategy through torchrun and NCCL, by as many processes as there are accelerators.

With one accelerator FSDP2 and ZeRO wrap the student all the same; DDP has nothing to wrap.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from distill_api.training import Strategy as Name
from tiny_given import Given
from torch import Tensor

train_together: Any = import_module("train_together")  # tests are no package
Tell = Callable[[str, str], None]
ZERO = (Name.ZERO1, Name.ZERO2, Name.ZERO3)
LONGEST = 300
"""Seconds of one strategy."""


def torchrun(given: Given, folder: Path, processes: int, *more: str) -> None:
    """Start the processes as the product does; all have to end well."""
    script = Path(train_together.__file__)
    support = [str(Path(tiny_models.__file__).parent), str(script.parent)]
    path = os.pathsep.join([*support, *filter(None, [os.environ.get("PYTHONPATH")])])
    places = [str(place) for place in (given.prepared, given.teacher, given.ranker, folder)]
    line = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", f"--nproc-per-node={processes}", "--max-restarts=0"),
        *(str(script), *places, *more),
    ]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


@pytest.mark.parametrize("name", Name)
def test_a_strategy_trains(given: Given, gpus: int, tmp_path: Path, tell: Tell, name: Name):
    if name in ZERO and find_spec("deepspeed") is None:
        pytest.skip("needs DeepSpeed: install the extra kubedistill[trainer]")
    processes = torch.cuda.device_count() if gpus else 2
    torchrun(given, tmp_path, processes, "--strategies", name.value, "--gpus", str(gpus))
    told = check(tmp_path, given, name, processes)
    tell(f"{name.value}, {processes} process(es): gradients from one alone", f"{told:.1e}")


def check(folder: Path, given: Given, name: Name, processes: int) -> float:
    """Check endings and gradients; returns how far the gradients are apart, relative."""
    worst = 0.0
    for rank in range(processes):
        found = torch.load(folder / f"{name.value}-{rank}.pt", weights_only=True)
        for kind in train_together.TRAININGS_OF[name]:
            ends = [below(found, f"{kind}/{how}") for how in ("undisturbed", "killed")]
            assert len(ends[0]) > 10
            assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
        for key in train_together.keys(name):
            worst = max(worst, gradients_apart(given, found, name, key))
    told = json.loads((folder / f"{name.value}-0.json").read_text())
    assert told["generator/undisturbed"][-1]["loss"] < told["generator/undisturbed"][1]["loss"]
    return worst


def gradients_apart(given: Given, found: dict[str, Tensor], name: Name, key: str) -> float:
    component, what, _ = key.split("/")
    exact = train_together.exactly(name, key)
    alone = train_together.alone(given, component, what, exact=exact)
    expected = {number: value.cpu() for number, value in alone.items()}
    together = below(found, key)
    assert together.keys() >= expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    apart = max(
        float((value - expected.get(number, torch.zeros(()))).abs().max())
        for number, value in together.items()
    )
    assert apart <= (0.02 if what == "bfloat16" else 2e-5) * largest, key
    return 0.0 if what == "bfloat16" else apart / largest


def below(found: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {key.removeprefix(start): v for key, v in found.items() if key.startswith(start)}
