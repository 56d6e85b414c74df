"""A tiny teacher and its labels, made once; settings of PyTorch that make runs repeatable."""

from pathlib import Path

import pytest
import tiny_models
from distill_trainer.training import runtime


@pytest.fixture(autouse=True, scope="session")
def _repeatable() -> None:
    runtime.settle(threads=1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tiny_models.World:
    return tiny_models.world(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def teacher_folder(world: tiny_models.World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    world.teacher.save(str(folder))
    return folder
