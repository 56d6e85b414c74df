"""The images install what uv.lock says."""

import re
import shutil
from pathlib import Path

import pytest
from devcluster.images import lock

REQUIREMENT = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)


def pins(root: Path, name: str) -> dict[str, str]:
    found = dict(REQUIREMENT.findall((root / name).read_text()))
    assert len(found) > 5
    return found


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv exports the files")
def test_the_requirement_files_are_as_the_lock_says(root: Path) -> None:
    assert sorted(lock.stale(root)) == []


def test_the_cpu_image_differs_from_the_cuda_image_by_cuda_alone(root: Path) -> None:
    cpu = pins(root, "trainer-image/requirements-cpu.txt")
    cuda = pins(root, "trainer-image/requirements-cuda.txt")
    assert cpu.items() < cuda.items()
    assert cuda.keys() - cpu.keys() == {*lock.left_out((root / "uv.lock").read_text())}
    assert {name for name in cpu if name.startswith(lock.CUDA_PREFIXES)} == lock.KEPT


def test_the_servers_own_packages_and_the_trainers_are_all_it_needs(root: Path) -> None:
    own = pins(root, lock.SERVER)
    trainer = pins(root, lock.TRAINER)
    assert own.keys() & trainer.keys() == set()
    assert {"starlette", "uvicorn", "prometheus-client"} <= own.keys()
    assert "onnxruntime" in trainer
    whole = dict(REQUIREMENT.findall(lock.export(root, ("--extra=server",))))
    assert whole.items() <= (own | trainer).items()


@pytest.mark.parametrize("name", ["trainer-image/requirements-cpu.txt", lock.SERVER])
def test_every_requirement_is_held_by_hashes(root: Path, name: str) -> None:
    blocks = re.split(r"\n(?=[a-z])", (root / name).read_text())[1:]
    assert len(blocks) == len(pins(root, name)) > 5
    for block in blocks:
        assert "--hash=sha256:" in block


def test_only_cuda_packages_are_left_out() -> None:
    names = ["torch", "nvidia-cublas", "nvidia-cuda-runtime", "triton", "cuda-bindings", "numpy"]
    text = "\n".join(f'[[package]]\nname = "{name}"' for name in names)
    assert lock.left_out(text) == ("cuda-bindings", "nvidia-cublas", "triton")


def test_vllms_image_has_what_was_asked_for_and_no_cuda_but_what_torch_needs(root: Path) -> None:
    folder = (root / lock.VLLM).parent
    found = pins(root, lock.VLLM)
    for name in ("requirements.in", "overrides.txt"):
        asked = dict(REQUIREMENT.findall((folder / name).read_text()))
        assert asked.items() <= found.items(), f"run `python -m devcluster.images pin` after {name}"
    assert {name for name in found if name.startswith(lock.CUDA_PREFIXES)} == lock.KEPT
    # There is no such build on PyPI.
    assert "torchaudio" not in found


def test_cuda_is_left_out_with_its_hashes() -> None:
    text = (
        "a==1 \\\n    --hash=x\ntriton==3 \\\n    --hash=y\n    --hash=z\nb==2 \\\n    --hash=w\n"
    )
    assert lock.without_cuda(text) == "a==1 \\\n    --hash=x\nb==2 \\\n    --hash=w\n"
