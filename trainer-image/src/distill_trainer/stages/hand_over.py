"""Hand over: what the engine's container works on, in the folder that both containers see."""

import shutil
from pathlib import Path

from distill_api.names import Stage
from distill_api.wire import ENGINE_PROGRAM

from distill_trainer.context import Context
from distill_trainer.exporting import engine_inputs, engine_program


def run(context: Context) -> Path:
    """Copy graph, inputs, plan and program; returns where they are."""
    place = context.scratch / engine_inputs.FOLDER
    exported = context.workspace.output(Stage.EXPORT)
    shutil.copytree(exported.path / engine_inputs.FOLDER, place, dirs_exist_ok=True)
    shutil.copyfile(engine_program.__file__, place / ENGINE_PROGRAM)
    return place
