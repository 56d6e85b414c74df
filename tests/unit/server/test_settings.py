"""Flags and environment, and the processors that a container may use."""

import os
from pathlib import Path

import pytest
from distill_common import cores
from distill_server.settings import Runtime, Settings
from distill_server.telemetry import boundaries
from pydantic import ValidationError
from pydantic_settings import CliApp


def test_flags_win_over_the_environment_and_lists_are_written_with_commas(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("DISTILL_SERVER_MAX_BATCH", "7")
    monkeypatch.setenv("DISTILL_SERVER_PORT", "1")
    monkeypatch.setenv("DISTILL_SERVER_LATENCY_LIMITS_MS", "20,30")
    from_environment = CliApp.run(Settings, cli_args=["--port", "9000", "--runtime", "Torch"])
    from_flags = CliApp.run(Settings, cli_args=["--latency-limits-ms", "150,99.5"])
    assert (from_environment.max_batch, from_environment.port) == (7, 9000)
    assert from_environment.runtime is Runtime.TORCH
    assert from_environment.latency_limits_ms == (20, 30)
    assert from_flags.latency_limits_ms == (150, 99.5)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--latency-limits-ms", "0"], "greater than 0"),
        (["--max-inputs", "10", "--max-queue", "9"], "could never be taken: lower max_inputs"),
        (["--arm", "both"], "teacher.*student"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(flags: list[str], sentence: str):
    with pytest.raises(ValidationError, match=sentence):
        CliApp.run(Settings, cli_args=flags)


def test_boundaries_rise_and_hold_each_limit_exactly():
    found = boundaries([150, 42, 1])
    assert list(found) == sorted(set(found))
    assert {0.15, 0.042, 0.001} <= set(found)


CASES = [("150000 100000", 2), ("max 100000", None), ("50000 100000", 1), ("nonsense", None)]


@pytest.mark.parametrize(("content", "expected"), CASES)
def test_a_containers_limit_lowers_the_threads(
    content: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 16, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    assert cores.usable(quota) == (expected or 16)
