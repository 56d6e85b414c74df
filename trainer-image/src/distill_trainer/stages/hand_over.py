"""Hand over: what another container works with, in the folder that both containers see."""

import shutil
from pathlib import Path
from typing import Final

from distill_api import wire
from distill_api.names import Stage
from distill_api.wire import ENGINE_PROGRAM

from distill_trainer.context import Context

VLLM_PROGRAM: Final = Path(wire.VLLM_PROGRAM).relative_to(wire.SCRATCH_DIR)


def run(context: Context) -> Path:
    """Lay out what the stage's other container needs; returns where it is."""
    return _launcher(context) if context.task.stage is Stage.EVALUATE else _engine(context)


def _engine(context: Context) -> Path:
    """Copy graph, inputs, plan and program."""
    from distill_trainer.exporting import engine_inputs, engine_program  # imports torch: slow

    place = context.scratch / engine_inputs.FOLDER
    exported = context.workspace.output(Stage.EXPORT)
    shutil.copytree(exported.path / engine_inputs.FOLDER, place, dirs_exist_ok=True)
    shutil.copyfile(engine_program.__file__, place / ENGINE_PROGRAM)
    return place


def _launcher(context: Context) -> Path:
    """Copy what starts and ends vLLM."""
    from distill_trainer.benchmarking import vllm_launcher

    place = context.scratch / VLLM_PROGRAM
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(vllm_launcher.__file__, place)
    return place.parent
