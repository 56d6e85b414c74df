"""Libraries that tell their makers how they are used, and the variables that keep them from it."""

import os
from collections.abc import Mapping
from typing import Final

REFUSED: Final[Mapping[str, str]] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime since 1.31, on Linux too
    "VLLM_NO_USAGE_STATS": "1",
}
"""Environment of every pod that we make; ours set it themselves too, wherever they run."""


def refuse() -> None:
    """Keep this process's libraries from reporting; before any of them is imported.

    A variable that somebody has set stays: whoever wants to report may.
    """
    for name, value in REFUSED.items():
        os.environ.setdefault(name, value)
