"""How each runtime is started, asked for its health and counted: one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from distill_api import triton
from distill_api.rollout_arms import Runtime

from distill_operator.render.rollout.order import ArmOrder, Model

SERVED_DIR: Final = "/repository"
"""Where Triton finds the model under its served name."""
MODEL_DIR: Final = "/artifact"
"""Where the artifact or claim is mounted; an artifact has its files below `models`."""
ADAPTERS_DIR: Final = "/adapters"
"""Where adapters are mounted, each in a folder of its number."""
NAMED_USER: Final[Mapping[str, str]] = {"USER": "kubedistill"}
"""For vLLM: torch asks for the name of the user, whom a foreign image does not know."""
LAST_SECONDS: Final = 5
"""Of a pod's end: what a server needs to go once its requests are done."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a runtime needs of its container."""

    arguments: Callable[[ArmOrder], list[str]]
    port: int
    ready: str
    """Path that answers 200 once requests can be taken."""
    live: str
    """Path that answers 200 while the process is well."""
    metrics_port: int | None = None
    """None: the one that takes the requests."""
    environment: Callable[[ArmOrder], Mapping[str, str]] = lambda _: {}
    shared_memory: str | None = None
    """Size of /dev/shm where the spec names none; None: the container runtime's."""
    drains: bool = True
    """False: it stops at SIGTERM, so the pod has to wait before it."""
    writes: tuple[str, ...] = ()
    """Folders that it writes to whatever its environment says."""
    parts: Callable[[ArmOrder], Mapping[str, str]] = lambda _: {}
    """Where parts of the model are mounted once more, by their folders below it."""


def model_path(order: ArmOrder) -> str:
    """Return the folder of the model inside the container."""
    return _folder(MODEL_DIR, order.model)


def adapter_dir(number: int) -> str:
    """Return where an adapter is mounted."""
    return f"{ADAPTERS_DIR}/{number}"


def _folder(mounted: str, model: Model) -> str:
    if model.reference is not None:
        return f"{mounted}/models"
    return f"{mounted}/{model.path}".rstrip("/")


def port(order: ArmOrder) -> int:
    """Return the port that takes requests."""
    return order.deployment.port or LAUNCHES[order.deployment.runtime].port


def metrics_port(order: ArmOrder) -> int:
    """Return the port of the metrics."""
    found = LAUNCHES[order.deployment.runtime].metrics_port
    return order.deployment.metrics_port or found or port(order)


def _ours(order: ArmOrder) -> list[str]:
    """Return the flags of distill_server."""
    limits = ",".join(str(limit) for limit in order.latency_limits_milliseconds)
    flags = {
        "--model": model_path(order),
        "--served-model-name": order.served_name,
        "--runtime": order.deployment.runtime.value,
        "--port": str(port(order)),
        "--arm": order.arm,
        "--drain-seconds": str(order.deployment.drain_seconds),
        **({"--latency-limits-ms": limits} if limits else {}),
    }
    return [word for pair in flags.items() for word in pair]


def _vllm(order: ArmOrder) -> list[str]:
    flags = {
        "--model": model_path(order),
        "--served-model-name": order.served_name,
        "--port": str(port(order)),
    }
    return [word for pair in flags.items() for word in pair] + _adapters(order)


def _adapters(order: ArmOrder) -> list[str]:
    if not order.adapters:
        return []
    placed = [
        f"{adapter.name}={_folder(adapter_dir(number), adapter.model)}"
        for number, adapter in enumerate(order.adapters)
    ]
    return ["--enable-lora", "--lora-modules", *placed]


def _of_vllm(order: ArmOrder) -> dict[str, str]:
    """Return what vLLM and torch look for in their environment."""
    wanted = order.deployment
    left = wanted.grace_seconds - wanted.drain_seconds
    digest = (order.model.reference or "").partition("@")[2] or order.model.digest
    return {
        **NAMED_USER,
        "DISTILL_SHUTDOWN_SECONDS": str(max(0, left - LAST_SECONDS)),
        **({"DISTILL_MODEL_DIGEST": digest} if digest else {}),
    }


def _triton(order: ArmOrder) -> list[str]:
    """Return the whole command: images of Triton have an entry point that runs it, or none.

    The repository is in the artifact; beside it stands one that has the student under the name that
    clients ask for, as Triton calls models by their folders.
    """
    left = order.deployment.grace_seconds - order.deployment.drain_seconds
    return [
        "tritonserver",
        f"--model-repository={model_path(order)}/{triton.FOLDER}",
        *([f"--model-repository={SERVED_DIR}"] if _triton_parts(order) else []),
        "--model-control-mode=none",
        "--strict-readiness=true",
        f"--http-port={port(order)}",
        f"--metrics-port={metrics_port(order)}",
        f"--exit-timeout-secs={max(1, left - LAST_SECONDS)}",
    ]


def _triton_parts(order: ArmOrder) -> dict[str, str]:
    """Mount the student's ensemble, and the prober's, under the name that clients ask for."""
    name = order.served_name
    if name == triton.MODEL:
        return {}
    folder = f"{_inside(order)}{triton.FOLDER}/{triton.MODEL}"
    return {f"{folder}{end}": f"{SERVED_DIR}/{name}{end}" for end in ("", triton.PROBE)}


def _inside(order: ArmOrder) -> str:
    """Return the model's folder within its volume, with the slash behind it."""
    inside = model_path(order).removeprefix(MODEL_DIR).strip("/")
    return f"{inside}/" if inside else ""


LAUNCHES: Final[Mapping[Runtime, Launch]] = {
    Runtime.ONNX_RUNTIME: Launch(_ours, 8080, "/readyz", "/healthz"),
    Runtime.TORCH: Launch(_ours, 8080, "/readyz", "/healthz"),
    Runtime.VLLM: Launch(
        _vllm,
        8000,
        "/health",
        "/health",
        environment=_of_vllm,
        shared_memory="1Gi",
        drains=False,
    ),
    Runtime.TRITON: Launch(
        _triton,
        8000,
        "/v2/health/ready",
        "/v2/health/live",
        8002,
        # Server and Python models hand tensors over there: 1 MiB for each model at first.
        shared_memory="256Mi",
        drains=False,
        # Its Python backend makes a folder there, and ends without.
        writes=("/tmp",),  # noqa: S108 - in the pod
        parts=_triton_parts,
    ),
}

if LAUNCHES.keys() != set(Runtime):
    raise AssertionError("every runtime must say how it is launched")
