"""Where these checks compute, and what they measured: a table at the end.

KUBEDISTILL_CHECKS_ON=cpu runs their bodies without an accelerator, to work on them; what only an
accelerator can show is then skipped.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import tiny_given
import tiny_models
import torch
from distill_trainer.training import runtime
from tiny_given import Given

sys.path.append(str(Path(__file__).parents[1] / "unit" / "training"))
together = import_module("train_together")  # tests are no package

ON_CPU = os.environ.get("KUBEDISTILL_CHECKS_ON") == "cpu"
MEASURED = "measured "

Tell = Callable[[str, str], None]


@pytest.fixture(autouse=True, scope="session")
def device() -> torch.device:
    if not ON_CPU and not torch.cuda.is_available():
        pytest.skip(f"needs an accelerator, and PyTorch {torch.__version__} finds none")
    return runtime.settle(threads=1, gpus=0 if ON_CPU else 1)


@pytest.fixture(scope="session")
def gpus(device: torch.device) -> int:
    """Accelerators that a pod is given."""
    return int(device.type == "cuda")


@pytest.fixture
def memory(device: torch.device) -> Callable[[], int]:
    """Return what tells the most bytes that were in use since it was asked before."""
    if device.type == "cpu":
        pytest.skip("needs an accelerator: its memory is measured")

    def most() -> int:
        found = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return found

    most()
    return most


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Return what is told a measurement: its name, and what was measured."""
    return lambda what, value: request.node.user_properties.append((MEASURED + what, value))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tiny_models.World:
    return tiny_models.world(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def given(
    world: tiny_models.World, device: torch.device, tmp_path_factory: pytest.TempPathFactory
) -> Given:
    return tiny_given.write(tmp_path_factory.mktemp("given"), world, device)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    found = {
        what.removeprefix(MEASURED): value
        for report in reports
        for what, value in report.user_properties
        if what.startswith(MEASURED)
    }
    if not found:
        return
    card = "the CPU" if ON_CPU else torch.cuda.get_device_name()
    terminalreporter.section(f"measured on {card}, PyTorch {torch.__version__}")
    for what, value in sorted(found.items()):
        terminalreporter.write_line(f"{what:<72} {value}")
