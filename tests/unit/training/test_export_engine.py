"""What a TensorRT engine is built from, and what is said of it; the builder itself needs a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from distill_api.names import Exit, Reason, Stage
from distill_common import graphs
from distill_trainer.errors import BadInput
from distill_trainer.exporting import engine_inputs, engine_program
from distill_trainer.process import main
from distill_trainer.stages import hand_over
from stage_jobs import Job

EXPORT: dict[str, Any] = {
    "onnx": {},
    "tensorRT": {"maxShape": {"batch": 64, "length": 256}, "gpus": 2},
}


@pytest.fixture(scope="module")
def exported(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("engine"), teacher_folder, export=EXPORT)
    (job.root / "volumes" / "models").mkdir(parents=True)
    job.spec["evaluation"] |= {"onMissedGate": "Publish"}
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EXPORT):
        job.run(stage)
    return job


def handed_over(job: Job) -> Path:
    return hand_over.run(job.context(Stage.ENGINE))


def built(place: Path, *, factor: float = 1.0) -> None:
    """Leave what TensorRT's container would, computed by ONNX Runtime from the same graph."""
    plan = json.loads((place / engine_program.PLAN).read_text())
    session = onnxruntime.InferenceSession(place / plan["graph"])
    outputs = []
    for number, case in enumerate(plan["cases"]):
        given = {
            name: np.frombuffer((place / file).read_bytes(), np.int64).reshape(case["shape"])
            for name, file in case["inputs"].items()
        }
        (found,) = session.run([plan["output"]], given)
        (place / f"output-{number}.bin").write_bytes((found * np.float32(factor)).tobytes())
        shape = list(found.shape)
        outputs.append({"file": f"output-{number}.bin", "shape": shape, "milliseconds": 1.5})
    (place / engine_program.ENGINE).write_bytes(b"an engine")
    result = {"tensorrt": "11.4", "gpu": "a GPU", "buildSeconds": 10.0, "outputs": outputs}
    (place / engine_program.RESULT).write_text(json.dumps(result))


def test_the_graph_carries_its_types_and_every_case_fits_the_largest_shape(exported: Job):
    place = handed_over(exported)
    plan = json.loads((place / engine_program.PLAN).read_text())
    assert plan["min"] == [1, 1]
    assert plan["max"] == [64, 256]
    assert plan["workspaceBytes"] == 4096 << 20
    assert len(plan["cases"]) >= 6
    assert {case["shape"][0] for case in plan["cases"]} == {1, 2, 7}
    assert all(case["shape"][1] <= 256 for case in plan["cases"])
    kinds = {
        entry.type for entry in onnxruntime.InferenceSession(place / graphs.FLOAT).get_inputs()
    }
    assert kinds == {"tensor(int64)"}
    weights = onnx.load(place / graphs.FLOAT).graph.initializer
    halves = [one for one in weights if one.data_type == onnx.TensorProto.FLOAT16]
    assert len(halves) > len(weights) / 2
    assert not any(
        one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 2 for one in weights
    )


def test_the_program_needs_nothing_of_ours_and_says_what_is_missing(exported: Job):
    place = handed_over(exported)
    program = place / "engine_program.py"
    done = subprocess.run([sys.executable, "-I", "-S", program, place], check=True, timeout=60)
    assert done.returncode == 0
    with pytest.raises(BadInput, match="TensorRT cannot be imported") as caught:
        exported.run(Stage.ENGINE)
    assert caught.value.reason is Reason.BAD_RECIPE
    assert "set spec.export.tensorRT.image" in str(caught.value)


def test_an_engine_that_agrees_is_kept_published_and_told(exported: Job):
    built(handed_over(exported))
    report, _ = exported.run(Stage.ENGINE)
    assert report.usage.gpu_seconds == "20.000"
    assert 0 < float(report.facts["largestDifference"]) < 0.02
    assert report.facts["gpu"] == "a GPU"
    assert "TensorRT 11.4 engine in FLOAT16 for a GPU" in report.summary
    exported.run(Stage.EVALUATE)
    published, _ = exported.run(Stage.PUBLISH)
    assert published.artifact is not None
    assert published.artifact.formats == ["safetensors", "onnx", "tensorrt"]
    folder = exported.root / "volumes" / "models" / "models"
    assert (folder / "tensorrt" / "model.plan").read_bytes() == b"an engine"
    assert json.loads((folder / "tensorrt" / "engine.json").read_text())["shapes"]["max"] == {
        "batch": 64,
        "length": 256,
    }
    assert "## TensorRT" in (folder / "README.md").read_text()
    assert not (folder / engine_inputs.FOLDER).exists(), "what it was built from is not published"


def test_an_engine_that_is_off_fails_the_stage_with_the_numbers(exported: Job):
    loose = exported.spec["export"] | {"tensorRT": EXPORT["tensorRT"] | {"maxDifference": 0.01}}
    spec = exported.spec | {"export": loose}
    exported.run(Stage.EXPORT, spec=spec)
    built(handed_over(exported), factor=1.2)
    with pytest.raises(BadInput, match=r"largest difference 0\.\d+, at most 0\.01 of the largest"):
        exported.run(Stage.ENGINE, spec=spec)
    exported.run(Stage.EXPORT)


def test_handing_over_never_fails_as_the_container_after_it_tells_why(
    exported: Job, tmp_path: Path
):
    empty = {"workspace": f"file://{tmp_path}/empty"}
    task = exported.context(Stage.ENGINE).task.model_copy(update=empty)
    (tmp_path / "task.json").write_text(task.model_dump_json(by_alias=True))
    folders = ["--scratch", str(tmp_path), "--volumes", str(tmp_path), "--secrets", str(tmp_path)]
    files = ["--task", str(tmp_path / "task.json"), "--report", str(tmp_path / "report")]
    assert main([*files, *folders, "--hand-over"]) is Exit.DONE
    assert not (tmp_path / "report").exists()
    assert engine_program.main(tmp_path / "engine") == 0
    assert main([*files, *folders]) is Exit.TRY_AGAIN
    assert (
        "The result of the Export stage is not in the workspace"
        in (tmp_path / "report").read_text()
    )
