"""Builds a TensorRT engine and runs it on given inputs; needs nothing but Python and TensorRT.

It runs in TensorRT's own image, where none of our packages are: no import of ours may be added.
"""

import contextlib
import ctypes
import ctypes.util
import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PLAN = "plan.json"
RESULT = "result.json"
ENGINE = "model.plan"
TO_DEVICE, TO_HOST = 1, 2
"""Kinds of cudaMemcpy."""
CUDA_RUNTIMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
BYTES = {"int64": 8, "int32": 4, "float32": 4}
TIMED = 20


class CannotBuild(Exception):
    """Something that the user has to know."""


class Cuda:
    """The few calls of CUDA's runtime that a run needs."""

    def __init__(self) -> None:
        self._library = _cuda_library()

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the device."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value or 0

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", ctypes.c_void_p(address))

    def upload(self, address: int, content: bytes) -> None:
        """Copy bytes to the device."""
        self._copy(address, ctypes.addressof(_buffer(content)), len(content), TO_DEVICE)

    def download(self, address: int, size: int) -> bytes:
        """Copy bytes from the device."""
        content = ctypes.create_string_buffer(size)
        self._copy(ctypes.addressof(content), address, size, TO_HOST)
        return content.raw

    def wait(self) -> None:
        """Wait until all work is done."""
        self._call("cudaDeviceSynchronize")

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        addresses = ctypes.c_void_p(target), ctypes.c_void_p(source)
        self._call("cudaMemcpy", *addresses, ctypes.c_size_t(size), ctypes.c_int(kind))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CannotBuild(f"{name} failed with CUDA error {status}: check driver and GPU")


def _buffer(content: bytes) -> Any:
    return (ctypes.c_char * len(content)).from_buffer_copy(content)


def _cuda_library() -> Any:
    found = ctypes.util.find_library("cudart")
    for name in ([found] if found else []) + list(CUDA_RUNTIMES):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise CannotBuild(
        "CUDA's runtime (libcudart) is not in this image: set spec.export.tensorRT.image to one"
        " with CUDA, Python and TensorRT"
    )


def tensorrt() -> Any:
    """Import TensorRT, which only its own image has."""
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise CannotBuild(
            f"TensorRT cannot be imported ({error}): set spec.export.tensorRT.image to an image"
            " with Python and TensorRT 11, such as NVIDIA's own"
        ) from error


def build(trt: Any, plan: Mapping[str, Any], folder: Path) -> bytes:
    """Return the engine of the plan's graph, by the types that stand in the graph."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / plan["graph"])):
        errors = "; ".join(str(parser.get_error(one)) for one in range(parser.num_errors))
        raise CannotBuild(f"TensorRT cannot read the graph: {errors[:600]}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan["workspaceBytes"])
    profile = builder.create_optimization_profile()
    for name in plan["inputs"]:
        profile.set_shape(name, *(tuple(plan[size]) for size in ("min", "opt", "max")))
    config.add_optimization_profile(profile)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise CannotBuild(
            "TensorRT built no engine; the container's log says why. Often the GPU has too little"
            " memory: lower export.tensorRT.maxShape or workspaceMebibytes"
        )
    return bytes(made)


def _flags(trt: Any) -> int:
    """Ask for types by the graph alone: TensorRT 11 knows nothing else and may drop the flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


class Run:
    """An engine at work."""

    def __init__(self, trt: Any, content: bytes, cuda: Cuda) -> None:
        self._cuda = cuda
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise CannotBuild("TensorRT cannot load the engine that it has just built")
        self._context = self._engine.create_execution_context()

    def __call__(
        self, inputs: Mapping[str, bytes], shape: Sequence[int], output: str, *, times: int = 1
    ) -> tuple[bytes, list[int], float]:
        """Return the output, its shape and the milliseconds of a pass."""
        with contextlib.ExitStack() as stack:
            for name, content in inputs.items():
                address = self._memory(stack, len(content))
                self._cuda.upload(address, content)
                self._context.set_input_shape(name, tuple(shape))
                self._context.set_tensor_address(name, address)
            found = [int(size) for size in self._context.get_tensor_shape(output)]
            size = math.prod(found) * BYTES["float32"]
            address = self._memory(stack, size)
            self._context.set_tensor_address(output, address)
            seconds = [self._pass() for _ in range(times)]
            return self._cuda.download(address, size), found, 1000 * sorted(seconds)[times // 2]

    def _memory(self, stack: contextlib.ExitStack, size: int) -> int:
        address = self._cuda.allocate(size)
        stack.callback(self._cuda.free, address)
        return address

    def _pass(self) -> float:
        begun = time.perf_counter()
        if not self._context.execute_async_v3(0):
            raise CannotBuild("the engine refused to run; the container's log says why")
        self._cuda.wait()
        return time.perf_counter() - begun


def work(folder: Path) -> dict[str, Any]:
    """Build, run every case, write engine and outputs; returns what is told of it."""
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    trt = tensorrt()
    cuda = Cuda()
    begun = time.monotonic()
    content = build(trt, plan, folder)
    seconds = time.monotonic() - begun
    (folder / ENGINE).write_bytes(content)
    run = Run(trt, content, cuda)
    return {
        "tensorrt": str(trt.__version__),
        "gpu": gpu(),
        "buildSeconds": round(seconds, 3),
        "outputs": list(_outputs(run, plan, folder)),
    }


def _outputs(run: Run, plan: Mapping[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    for number, case in enumerate(plan["cases"]):
        inputs = {name: (folder / file).read_bytes() for name, file in case["inputs"].items()}
        found, shape, milliseconds = run(inputs, case["shape"], plan["output"], times=TIMED)
        name = f"output-{number}.bin"
        (folder / name).write_bytes(found)
        yield {"file": name, "shape": shape, "milliseconds": round(milliseconds, 3)}


def gpu() -> str:
    """Name the GPU; `unknown` where nobody tells."""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
        return told.stdout.strip().splitlines()[0]
    return "unknown"


def main(folder: Path) -> int:
    """Work, and leave a result whatever happens: the container after this one reports it."""
    if not (folder / PLAN).is_file():
        return 0  # who was to write it tells why it is not there
    try:
        result = work(folder)
    except Exception as error:  # noqa: BLE001 - the outermost door of the process
        kind = "" if isinstance(error, CannotBuild) else f"{type(error).__name__}: "
        result = {"failure": f"{kind}{error}"}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
