"""Two processes that train together, on loopback: the same gradients as one, and exact resumes."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_given
import tiny_models
import torch
from distill_api.training import Strategy as Name
from distill_trainer.distributed import dealing, hiding, strategies
from distill_trainer.distributed.strategy import Alone
from distill_trainer.distributed.world import ALONE, World, joined
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.training import loop
from distill_trainer.training.checkpoints import Store
from peft import PeftModel
from safetensors.torch import load_file
from tiny_given import Given
from torch import Tensor

STRATEGIES = tuple(Name)
SCRIPT = Path(__file__).with_name("train_together.py")
sys.path.append(str(SCRIPT.parent))
train_together = import_module("train_together")  # tests are no package
TRAININGS = train_together.TRAININGS_OF


@dataclass(frozen=True, slots=True)
class Found:
    """What one of the two processes wrote down."""

    tensors: dict[str, Tensor]
    told: dict[str, Any]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin so, without the beginning."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def together(given: Given, folder: Path, *more: str, processes: int = 2) -> None:
    """Run the script in processes as torchrun starts them; all have to end well."""
    support = [str(Path(tiny_models.__file__).parent), str(SCRIPT.parent)]
    common = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(support),
    }
    places = [str(place) for place in (given.prepared, given.teacher, given.ranker, folder)]
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *places, *more],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    told = [process.communicate(timeout=1700)[0] for process in started]
    assert not any(process.returncode for process in started), "".join(log[-3000:] for log in told)


@pytest.fixture(scope="session")
def given(world: tiny_models.World, tmp_path_factory: pytest.TempPathFactory) -> Given:
    return tiny_given.write(tmp_path_factory.mktemp("given"), world, torch.device("cpu"))


@pytest.fixture(scope="session")
def folder(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("together")
    together(given, made, "--strategies", *(name.value for name in STRATEGIES))
    return made


@pytest.fixture(scope="session")
def found(folder: Path) -> dict[tuple[Name, int], Found]:
    return {
        (name, rank): Found(
            torch.load(folder / f"{name.value}-{rank}.pt", weights_only=True),
            json.loads((folder / f"{name.value}-{rank}.json").read_text()),
        )
        for name in STRATEGIES
        for rank in (0, 1)
    }


@pytest.fixture(scope="session")
def alone(given: Given) -> Callable[..., dict[str, Tensor]]:
    """Return the gradients of one process, each made once."""
    return functools.cache(functools.partial(train_together.alone, given))


CASES = [(name, key) for name in STRATEGIES for key in train_together.keys(name)]


@pytest.mark.parametrize(("name", "key"), CASES, ids=str)
def test_two_processes_have_the_gradients_of_one(
    found: dict[tuple[Name, int], Found],
    alone: Callable[..., dict[str, Tensor]],
    name: Name,
    key: str,
):
    component, what, _ = key.split("/")
    exact = train_together.exactly(name, key)
    expected = alone(component, what, exact=exact)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-4
    bound = 1e-6
    if what == "bfloat16":
        # What it rounds depends on which answers lie beside each other.
        bound = 0.02
    elif component == "reranker" and not exact:
        # Sums of many tokens that cancel out: float32 itself, as float64 shows with DDP.
        bound = 3e-6
    for rank in (0, 1):
        together = found[name, rank].below(key)
        assert together.keys() >= expected.keys()
        assert len(together) > 10
        for number, gradient in together.items():
            # Of weights that nothing uses, the pooler's, ZeRO has a gradient too: none.
            theirs = expected.get(number, torch.zeros(()))
            assert float((gradient - theirs).abs().max()) <= bound * largest


KINDS = [(name, kind) for name in STRATEGIES for kind in TRAININGS[name]]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=str)
def test_killed_and_begun_again_the_weights_are_bit_equal_on_both(
    found: dict[tuple[Name, int], Found], name: Name, kind: str
):
    endings = [
        found[name, rank].below(f"{kind}/{ending}")
        for ending in ("undisturbed", "killed")
        for rank in (0, 1)
    ]
    assert len(endings[0]) > 10
    for other in endings[1:]:
        assert other.keys() == endings[0].keys()
        assert all(torch.equal(other[key], value) for key, value in endings[0].items())


@pytest.mark.parametrize("kind", ["adapted", "generator", "querytransform"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_whole_training_goes_as_it_does_in_one_process(
    given: Given, found: dict[tuple[Name, int], Found], tmp_path: Path, name: Name, kind: str
):
    course = train_together.TRAININGS[kind](train_together.Made(given))
    curve = loop.train(course, Store(tmp_path), loop.Watch()).curve
    together = found[name, 0].told[f"{kind}/undisturbed"]
    assert [point["step"] for point in together] == [point["step"] for point in curve]
    limit = course.training.optimizer.max_gradient_norm
    for ours, theirs in zip(together[1:], curve[1:], strict=True):
        assert theirs["gradientNorm"] > limit
        assert ours.keys() == theirs.keys()
        for what in theirs.keys() & {"loss", "gradientNorm", "learningRate", "validation"}:
            assert ours[what] == pytest.approx(theirs[what], rel=1e-4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_checkpoint_belongs_to_no_strategy_and_no_number_of_processes(
    given: Given, folder: Path, tmp_path: Path, name: Name
):
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(folder / name.value / "0/generator/whole", checkpoints)
    shutil.rmtree(checkpoints / "step-00000006")
    course = train_together.TRAININGS["generator"](train_together.Made(given))
    loop.train(course, Store(checkpoints), loop.Watch())
    ended = Store(folder / name.value / "0/generator/whole").read(6).tensors
    again = Store(checkpoints).read(6).tensors
    assert again.keys() == ended.keys()
    apart = [
        (again[key] - value).abs().flatten() for key, value in ended.items() if "random" not in key
    ]
    assert float(torch.cat(apart).quantile(0.99)) < 1e-4


SAVED = [(name, "adapted") for name in STRATEGIES] + [(Name.DDP, "quantized")]


@pytest.mark.parametrize(("name", "kind"), SAVED, ids=str)
def test_an_adapter_that_several_trained_is_saved_whole_and_read_by_peft(
    given: Given, found: dict[tuple[Name, int], Found], folder: Path, name: Name, kind: str
):
    # With ZeRO 3 a file of empty tensors is what others have saved.
    trained = {
        key.replace(".lora_A.default", ".lora_A").replace(".lora_B.default", ".lora_B"): value
        for key, value in found[name, 0].below(f"{kind}/undisturbed").items()
        if ".lora_" in key
    }
    saved = folder / name.value / "0" / kind / "adapter"
    written = load_file(saved / "adapter_model.safetensors")
    assert len(written) == len(trained) == 16
    for key, value in trained.items():
        assert value.numel()
        assert torch.equal(written[f"base_model.model.{key}"], value)
    student = train_together.Made(given).generator({"outputs": {}})
    ids = torch.tensor([[1, 4, 20, 30, 40, 50]])
    with torch.no_grad():
        before = student.writer.model(input_ids=ids).logits.clone()
        after = PeftModel.from_pretrained(student.writer.model, str(saved))(input_ids=ids).logits
    assert float((after - before).abs().max()) > 1e-3


def test_one_that_has_to_go_stops_both_at_the_same_step_after_a_checkpoint(
    found: dict[tuple[Name, int], Found],
):
    assert found[Name.DDP, 0].told["stopped"] == [3, 2, 3]
    assert found[Name.DDP, 1].told["stopped"] == [3, 2, 3]


def test_only_the_first_process_writes_checkpoints(
    found: dict[tuple[Name, int], Found], folder: Path
):
    assert found
    assert list((folder / "DDP/0/embedding/whole").glob("step-*"))
    assert not list((folder / "DDP/1/embedding/whole").glob("step-*"))


def test_texts_are_dealt_once_each_with_equal_passes():
    lengths = np.array([5, 1, 9, 9, 2, 7, 3], dtype=np.int64)
    shares = dealing.deal(lengths, 3, max_rows=2)
    assert [share.places.tolist() for share in shares] == [[2, 0, 1], [3, 6], [5, 4]]
    assert {len(share.parts) for share in shares} == {2}
    order = dealing.order(shares)
    rows = np.concatenate([lengths[share.places] for share in shares])
    assert rows[order].tolist() == lengths.tolist()


def test_more_processes_than_texts_keep_step():
    shares = dealing.deal(np.array([4], dtype=np.int64), 2, max_rows=None)
    assert [len(share.places) for share in shares] == [1, 0]
    assert [len(share.parts) for share in shares] == [1, 1]


def test_zero_is_refused_where_the_image_lacks_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hiding, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match="use an image with it, or DDP, or FSDP2"):
        strategies.of(Name.ZERO2, World(0, 2))


def test_saving_a_model_does_not_import_deepspeed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delitem(sys.modules, hiding.NAME, raising=False)
    hiding.hide()
    tiny_models.teacher(layers=1).save_pretrained(str(tmp_path))
    assert sys.modules[hiding.NAME] is None
    assert hiding.reveal()
    assert hiding.NAME not in sys.modules


def test_one_process_needs_no_strategy():
    assert isinstance(strategies.of(Name.FSDP2, ALONE), Alone)


def test_a_lost_peer_is_worth_another_try(monkeypatch: pytest.MonkeyPatch):
    def join() -> None:
        with joined(torch.device("cpu")):
            raise RuntimeError("[gloo] Connection closed by peer [10.0.0.7]:4711")

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(TryAgain, match="Another process of the training was lost"):
        join()
