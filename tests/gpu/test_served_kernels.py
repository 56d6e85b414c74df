"""vLLM's kernels for what the quantize stage writes: their numbers are those of the files."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_causal
import torch
from distill_api.training import Quantize
from distill_trainer.quantizing import compared, compressing
from distill_trainer.students import causal
from distill_trainer.training.sequences import Taught

Tell = Callable[[str, str], None]

METHODS: dict[str, dict[str, Any] | None] = {
    "float": None,
    "INT4": {"method": "INT4", "groupSize": 128},
    "GPTQ": {"method": "GPTQ", "groupSize": 128, "calibrationRecords": 24},
    "AWQ": {"method": "AWQ", "groupSize": 128, "calibrationRecords": 24},
    "INT8": {"method": "INT8", "calibrationRecords": 24},
}
SIZE = {"hidden": 512, "heads": 8, "layers": 2, "num_key_value_heads": 4, "initializer_range": 0.06}
"""Wide enough for kernels that work on tiles of 128."""
SECONDS = 600.0


@pytest.fixture(scope="module")
def vllm() -> str:
    """Return the program; KUBEDISTILL_VLLM names one of another environment."""
    found = shutil.which(os.environ.get("KUBEDISTILL_VLLM", "vllm"))
    if found is None:
        pytest.skip("needs vLLM: put `vllm` on the PATH, or name it by KUBEDISTILL_VLLM")
    return found


@pytest.mark.parametrize("method", METHODS)
def test_vllm_computes_what_the_files_say(
    method: str, vllm: str, device: torch.device, tmp_path: Path, tell: Tell
):
    folder = _written(METHODS[method], tmp_path)
    tokens = [*range(8, 40), *range(39, 7, -1)]
    with _served(vllm, folder, tmp_path / "log", device) as url:
        found = _log_probabilities(url, tokens)
    expected = _expected(folder, tokens)
    away = np.abs(found - expected)
    tell(f"vLLM from the files, log-probability: {method}", f"{away.mean():.4f} {away.max():.4f}")
    # bfloat16 has 8 bits of a number, and the dequantised weights have them too.
    assert away.mean() < (0.03 if method == "float" else 0.1)
    assert np.abs(expected - np.roll(expected, 1)).mean() > 0.5, "alike numbers would prove nothing"


def _written(method: dict[str, Any] | None, into: Path) -> Path:
    whole, folder = into / "float", into / "student"
    student = tiny_causal.model(**SIZE)  # type: ignore[arg-type]
    if method is None:
        student.model.to(torch.bfloat16)
    causal.save(student, whole)
    if method is None:
        return whole
    random = np.random.default_rng(0)
    rows = [Taught(*random.integers(8, 60, (2, 24))) for _ in range(32)]
    wanted = Quantize.model_validate(method)
    compressing.compress(
        causal.load(whole), wanted, compressing.chosen(rows, wanted, seed=0), folder
    )
    return folder


def _expected(folder: Path, tokens: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return the log-probability of each token after the first, by transformers: [tokens - 1]."""
    quantised = "quantization_config" in (folder / "config.json").read_text()
    model = (compared.load(folder) if quantised else causal.load(folder)).model.eval()
    ids = torch.tensor([tokens])
    with torch.inference_mode():
        told = model(input_ids=ids).logits.float().log_softmax(-1)[0, :-1]
    found: np.ndarray[Any, np.dtype[np.float32]] = told.gather(1, ids[0, 1:, None])[:, 0].numpy()
    return found


def _log_probabilities(url: str, tokens: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    asked = {"model": "student", "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
    answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=300)
    assert answer.status_code == 200, answer.text
    told = answer.json()["choices"][0]["prompt_logprobs"][1:]
    pairs = zip(told, tokens[1:], strict=True)
    return np.array([one[str(token)]["logprob"] for one, token in pairs], dtype=np.float32)


@contextmanager
def _served(program: str, folder: Path, log: Path, device: torch.device) -> Iterator[str]:
    """Run vLLM on a free port of loopback until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "student"]
    small = ["--max-model-len", "128", "--enforce-eager"]
    if device.type == "cuda":
        small += ["--gpu-memory-utilization", "0.2"]
    command = [program, "serve", str(folder), "--dtype", "bfloat16", *flags, *small]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        _await(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _await(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, log.read_text()[-4000:]
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
