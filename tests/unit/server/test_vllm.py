"""How vLLM is started in a container, and the path that is answered beside its own."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from distill_api.token_ids import TOKEN_IDS_FILE, TOKEN_IDS_PATH
from distill_server.vllm import launch
from distill_server.vllm.launch import Launch
from distill_server.vllm.tokens import HandsTokens, Receive, Scope, Send

FLAGS = ["--model", "/artifact/models", "--port", "8000"]


def started(
    *flags: str, version: str = "0.32.0", compiler: str | None = None, **env: str
) -> Launch:
    return launch.of([*FLAGS, *flags], env, version=lambda: version, compiler=lambda _: compiler)


def test_on_gpus_only_the_path_of_the_tokens_is_added():
    found = started(PATH="/bin")
    assert found.command == [
        *("vllm", "serve", *FLAGS, "--middleware", "distill_server.vllm.tokens.HandsTokens")
    ]
    assert found.environment == {"PATH": "/bin", "DISTILL_MODEL_FOLDER": "/artifact/models"}


def test_on_processors_it_computes_without_a_compiler_and_binds_to_none():
    found = started(version="0.32.0+cpu")
    assert found.command[-1] == "--enforce-eager"
    assert found.environment["VLLM_TARGET_DEVICE"] == "cpu"
    assert found.environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert int(found.environment["OMP_NUM_THREADS"]) >= 1
    assert any("no compiler" in line for line in found.remarks)


def test_what_the_user_says_stands():
    found = started("--enforce-eager", version="0.32.0+cpu", OMP_NUM_THREADS="7")
    assert found.command.count("--enforce-eager") == 1
    assert found.environment["OMP_NUM_THREADS"] == "7"
    with_gcc = started(version="0.32.0+cpu", compiler="/usr/bin/g++")
    assert "--enforce-eager" not in with_gcc.command


@pytest.mark.parametrize("flags", [("--shutdown-timeout", "3"), ("--shutdown-timeout=3",)])
def test_requests_under_way_get_the_pods_time_unless_the_user_says_otherwise(
    flags: tuple[str, ...],
):
    assert started(DISTILL_SHUTDOWN_SECONDS="35").command[-2:] == ["--shutdown-timeout", "35"]
    assert "35" not in started(*flags, DISTILL_SHUTDOWN_SECONDS="35").command


async def beneath(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as vLLM would, in two parts."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


async def got(path: str) -> httpx.Response:
    app: Any = HandsTokens(beneath)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
        return await client.get(path)


async def test_the_file_is_handed_over_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / TOKEN_IDS_FILE).write_text(json.dumps({"samples": []}) + "\n \n")
    monkeypatch.setenv("DISTILL_MODEL_FOLDER", str(tmp_path))
    found = await got(TOKEN_IDS_PATH)
    assert found.content == (tmp_path / TOKEN_IDS_FILE).read_bytes()
    assert found.headers["content-type"] == "application/json"


async def test_an_artifact_without_it_is_told_by_404(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DISTILL_MODEL_FOLDER", str(tmp_path))
    assert (await got(TOKEN_IDS_PATH)).status_code == 404


async def test_every_other_path_is_vllms_and_names_the_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISTILL_MODEL_DIGEST", "sha256:abc")
    found = await got("/v1/chat/completions")
    assert (found.text, found.headers["x-own"]) == ("ab", "1")
    assert found.headers["x-model-digest"] == "sha256:abc"


async def test_without_a_digest_no_model_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISTILL_MODEL_DIGEST", raising=False)
    assert "x-model-digest" not in (await got("/health")).headers
