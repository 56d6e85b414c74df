"""A library whose dependency is missing loads with a stand-in, and says so when it is called."""

import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

# As torch is to the CUDA libraries: one import with a version, one without, from two libraries.
VERSIONED = "int gpu_multiply(void) { return 7; }"
VERSIONS = "libgpublas.so.1 { global: gpu_multiply; local: *; };"
PLAIN = "int gpu_gather(void) { return 8; }"
USER = """
int gpu_multiply(void); int gpu_gather(void);
int multiply(void) { return gpu_multiply(); }
int gather(void) { return gpu_gather(); }
int without_gpu(void) { return 42; }
"""


def compile_library(folder: Path, name: str, code: str, *flags: str) -> Path:
    """Compile one shared library with its name as SONAME."""
    (folder / "code.c").write_text(code)
    target = folder / name
    options = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(target)]
    subprocess.run(["gcc", *options, str(folder / "code.c"), *flags], check=True)
    return target


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return a site-packages folder with a library whose dependencies have been removed."""
    own = tmp_path / "torch/lib"
    own.mkdir(parents=True)
    (tmp_path / "versions").write_text(VERSIONS)
    script = f"-Wl,--version-script={tmp_path / 'versions'}"
    blas = compile_library(tmp_path, "libgpublas.so.1", VERSIONED, script)
    plain = compile_library(tmp_path, "libgpulink.so.2", PLAIN)
    user = compile_library(
        tmp_path, "libuser.so", USER, str(blas), str(plain), "-Wl,-rpath,$ORIGIN"
    )
    user.rename(own / "libuser.so")
    blas.unlink()
    plain.unlink()
    return tmp_path


def call(packages: Path, function: str) -> subprocess.CompletedProcess[str]:
    """Call a function of the library in a Python of its own."""
    code = f"import ctypes, os; lib = ctypes.CDLL({str(packages / 'torch/lib/libuser.so')!r}, "
    code += f"mode=os.RTLD_NOW); print(lib.{function}())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_stand_ins_the_library_cannot_be_loaded(packages: Path) -> None:
    assert "cannot open shared object file" in call(packages, "without_gpu").stderr


def test_with_stand_ins_it_works_where_no_gpu_is_needed(
    cuda_stubs: ModuleType, packages: Path
) -> None:
    assert cuda_stubs.main([str(packages)]) == 0
    assert call(packages, "without_gpu").stdout == "42\n"


@pytest.mark.parametrize(
    ("function", "symbol", "library"),
    [
        ("multiply", "gpu_multiply", "libgpublas.so.1"),
        ("gather", "gpu_gather", "libgpulink.so.2"),
    ],
)
def test_a_stand_in_that_is_called_ends_the_process_with_a_sentence(
    cuda_stubs: ModuleType, packages: Path, function: str, symbol: str, library: str
) -> None:
    cuda_stubs.main([str(packages)])
    ended = call(packages, function)
    assert ended.returncode == -signal.SIGABRT
    assert ended.stderr == (
        f"{symbol}: the CUDA library {library} is not part of the CPU image; "
        "use an image built with ACCELERATOR=cuda\n"
    )


def test_a_second_run_replaces_the_stand_ins_of_the_first(
    cuda_stubs: ModuleType, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda_stubs.main([str(packages)])
    first = capsys.readouterr().out
    cuda_stubs.main([str(packages)])
    assert capsys.readouterr().out == first
    assert first.count("stands in with 1 functions") == 2


def test_nothing_is_written_where_the_libraries_are_installed(
    cuda_stubs: ModuleType, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = packages / "nvidia/gpu/lib"
    real.mkdir(parents=True)
    (packages / "versions").write_text(VERSIONS)
    script = f"-Wl,--version-script={packages / 'versions'}"
    compile_library(real, "libgpublas.so.1", VERSIONED, script)
    compile_library(real, "libgpulink.so.2", PLAIN)
    cuda_stubs.main([str(packages)])
    assert capsys.readouterr().out == ""


def test_a_folder_without_torch_is_refused(cuda_stubs: ModuleType, tmp_path: Path) -> None:
    assert cuda_stubs.main([str(tmp_path)]) == 2
