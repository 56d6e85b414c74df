"""The tool that writes CUDA stand-ins, a program of the image build, loaded as a module."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def cuda_stubs() -> ModuleType:
    path = ROOT / "trainer-image/cpu/cuda_stubs.py"
    spec = importlib.util.spec_from_file_location("cuda_stubs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cuda_stubs"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
