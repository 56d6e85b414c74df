"""DeepSpeed is in the image and stays unseen until a strategy needs it.

accelerate imports it whenever a model is saved, only to ask whether the model is one of its
engines: more than a second, and where there is CUDA a search for a compiler, for every job.
"""

import sys
from importlib.util import find_spec
from typing import Final

NAME: Final = "deepspeed"


def hide() -> None:
    """Let nobody find it, unless it is imported already."""
    # Python's own way to say that a module is not there.
    sys.modules.setdefault(NAME, None)  # type: ignore[arg-type]


def reveal() -> bool:
    """Let it be found from now on; tells whether it is installed."""
    if sys.modules.get(NAME, ...) is None:
        del sys.modules[NAME]
    return find_spec(NAME) is not None
