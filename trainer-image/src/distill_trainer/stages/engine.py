"""Engine: what TensorRT's container has built is held against the weights, and kept."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from distill_api.exports import TensorRt
from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.exporting import engine_inputs, engine_program
from distill_trainer.quantizing import parity
from distill_trainer.stages import hand_over

FOLDER: Final = "tensorrt"
"""Where a published student has its engine."""
NOTE: Final = "engine.json"


def run(context: Context) -> Report:
    """Report on the engine; BadInput where it could not be built or is off."""
    exported = context.workspace.output(Stage.EXPORT)
    fingerprint = fingerprints.engine(exported.fingerprint)
    if done := context.workspace.find(Stage.ENGINE, fingerprint):
        return done.reused()
    wanted = _wanted(context)
    place = context.scratch / engine_inputs.FOLDER
    result = _result(context, place)
    largest = _compare(place, result, wanted.max_difference)
    draft = context.workspace.draft(Stage.ENGINE, fingerprint)
    folder = draft.path / FOLDER
    folder.mkdir(exist_ok=True)
    shutil.copyfile(place / engine_program.ENGINE, folder / engine_program.ENGINE)
    told = _told(result, wanted, largest, (folder / engine_program.ENGINE).stat().st_size)
    (folder / NOTE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    gpu_seconds = wanted.gpus * result["buildSeconds"]
    report = Report(
        stage=Stage.ENGINE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=_sentence(told),
        usage=Usage(gpu_seconds=f"{gpu_seconds:.3f}"),
        facts={name: str(value)[:80] for name, value in told.items() if name != "shapes"},
    )
    return draft.commit(report, inputs=exported.inputs)


def _wanted(context: Context) -> TensorRt:
    asked = context.task.spec.export
    assert asked is not None, "the stage is only asked for where the spec has it"
    assert asked.tensor_rt is not None, "likewise"
    return asked.tensor_rt


def _result(context: Context, place: Path) -> Mapping[str, Any]:
    """Return what TensorRT's container has left."""
    file = place / engine_program.RESULT
    if not file.is_file():
        hand_over.run(context)  # raises for what kept the inputs from being handed over
        raise TryAgain(
            Reason.CRASHED,
            "The container `engine` left no result: see its log (kubectl logs POD -c engine)",
        )
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if "failure" in found:
        raise BadInput(
            Reason.BAD_RECIPE, f"The TensorRT engine was not built. {found['failure'][:1200]}"
        )
    return found


def _compare(place: Path, result: Mapping[str, Any], most: float) -> float:
    """Return the largest difference to the weights; BadInput where it is too large."""
    largest = 0.0
    for number, output in enumerate(result["outputs"]):
        expected = np.load(place / engine_inputs.EXPECTED.format(number=number))
        rows = np.frombuffer((place / output["file"]).read_bytes(), dtype=np.float32)
        found = rows.reshape(output["shape"])
        off = parity.difference(found, expected)
        if not parity.accepted(off, expected, most):
            raise BadInput(
                Reason.BAD_MODEL,
                f"The TensorRT engine gives other numbers than the weights for a batch of"
                f" {len(expected)} (largest difference {off:.2g}, at most {most:g} of the largest"
                " number is accepted): use export.tensorRT.precision FLOAT32, raise"
                " export.tensorRT.maxDifference, or remove tensorRT",
            )
        largest = max(largest, off)
    return largest


def _told(result: Mapping[str, Any], wanted: TensorRt, largest: float, size: int) -> dict[str, Any]:
    """Return what engine.json has."""
    return {
        "precision": wanted.precision.value,
        "tensorrt": result["tensorrt"],
        "gpu": result["gpu"],
        "bytes": size,
        "buildSeconds": result["buildSeconds"],
        "largestDifference": float(f"{largest:.3g}"),
        "batchesCompared": len(result["outputs"]),
        "milliseconds": result["outputs"][-1]["milliseconds"],
        "shapes": {
            name: getattr(wanted, f"{name}_shape").model_dump() for name in ("min", "opt", "max")
        },
    }


def _sentence(told: Mapping[str, Any]) -> str:
    batches = f"{told['batchesCompared']} batches"
    return (
        f"TensorRT {told['tensorrt']} engine in {told['precision']} for {told['gpu']}"
        f" ({told['bytes'] / 1e6:.1f} MB, built in {told['buildSeconds']:.0f} s); largest"
        f" difference from the weights {told['largestDifference']:.2g} in {batches}"
    )
