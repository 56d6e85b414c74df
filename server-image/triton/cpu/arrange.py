"""Lay the package's server out as Triton looks for things: backends, bridge to Python, libraries.

Usage: arrange.py ENVIRONMENT, a virtual environment with nvidia-pytriton in it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

TOLD = (
    "import json, sys, sysconfig; own = sysconfig.get_config_var;"
    " print(json.dumps([own('LIBDIR'), own('INSTSONAME'), '%d.%d' % sys.version_info[:2]]))"
)


def library(python: str) -> tuple[Path, str]:
    """Return a Python's shared library, and its version; the library may be missing."""
    done = subprocess.run([python, "-c", TOLD], capture_output=True, text=True, check=True)
    folder, name, version = json.loads(done.stdout)
    # Debian's answer is a folder above the one that it uses.
    found = (Path(folder, name), *Path(folder).glob(f"*/{name}"))
    return next((path for path in found if path.is_file()), found[0]), version


def arrange(environment: Path) -> None:
    """Make `backends`, `libraries` and `bin/tritonserver.real` in the environment."""
    (package,) = environment.glob("lib/python*/site-packages/pytriton/tritonserver")
    shared, version = library(str(environment / "bin" / "python"))
    backend = shutil.copytree(package / "backends" / "python", environment / "backends" / "python")
    stub = package / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backend)
    libraries = environment / "libraries"
    libraries.mkdir()
    if not shared.is_file():
        raise SystemExit(f"this Python has no shared library {shared}: take one that has")
    (libraries / shared.name).symlink_to(shared)
    for path in environment.glob("lib/python*/site-packages/nvidia_pytriton.libs/*"):
        (libraries / path.name).symlink_to(path)
    (environment / "bin" / "tritonserver.real").symlink_to(package / "bin" / "tritonserver")


if __name__ == "__main__":
    arrange(Path(sys.argv[1]))
