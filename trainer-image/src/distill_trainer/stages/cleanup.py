"""Cleanup: removes the job's own folder in an object store; what was published stays."""

from distill_api.names import Stage
from distill_api.wire import Report

from distill_trainer.context import Context


def run(context: Context) -> Report:
    """Remove the workspace. Labels in a shared cache stay for other jobs."""
    folder = context.workspace.folder
    size = sum(folder.sizes().values())
    folder.remove_all()
    return Report(
        stage=Stage.CLEANUP,
        outcome="Done",
        summary=f"The workspace {folder.uri} is removed: {size / 1e6:.0f} MB",
    )
