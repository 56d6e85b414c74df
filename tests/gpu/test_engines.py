"""A TensorRT engine of an exported student: built, run on this GPU, held against the weights."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import stage_jobs
import tiny_models
from distill_api.names import Stage
from distill_trainer.exporting import engine_program
from distill_trainer.stages import hand_over

Tell = Callable[[str, str], None]


@pytest.mark.skipif(find_spec("tensorrt") is None, reason="needs TensorRT and its GPU")
@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_an_engine_agrees_with_the_weights(
    precision: str, gpus: int, tell: Tell, tmp_path: Path
) -> None:
    if not gpus:
        pytest.skip("TensorRT builds on a GPU only")
    tiny_models.teacher().save(str(tmp_path / "teacher"))
    most = {"batch": 64, "length": 512}
    export = {"onnx": {}, "tensorRT": {"precision": precision, "maxShape": most}}
    job = stage_jobs.Job(tmp_path / "job", tmp_path / "teacher", export=export)
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EXPORT):
        job.run(stage)
    place = hand_over.run(job.context(Stage.ENGINE))
    assert engine_program.main(place) == 0
    report, _ = job.run(Stage.ENGINE)
    assert (job.output(Stage.ENGINE) / "tensorrt" / engine_program.ENGINE).stat().st_size > 0
    tell(f"engine, {precision}", report.summary)
