"""No library of ours tells its makers how it is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from distill_api import telemetry
from onnx import TensorProto, helper, save

PROGRAM = "import {package}, onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1])"


@pytest.mark.parametrize("package", ["distill_server", "distill_trainer"])
def test_onnx_runtime_keeps_no_events_to_send(package: str, tmp_path: Path):
    graph = tmp_path / "graph.onnx"
    save(_doubling(), graph)
    told = {name: value for name, value in os.environ.items() if name not in telemetry.REFUSED}
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PROGRAM.format(package=package), str(graph)]
    subprocess.run(command, env=told | home, check=True, timeout=240)
    left = [str(path) for path in tmp_path.rglob("*") if path != graph]
    assert left == []


def test_who_wants_to_report_may(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    telemetry.refuse()
    assert (os.environ["DO_NOT_TRACK"], os.environ["ORT_DISABLE_TELEMETRY"]) == ("0", "1")


def _doubling() -> object:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "doubling", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
