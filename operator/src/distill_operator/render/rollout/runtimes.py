"""How each runtime is started and asked for its health: one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from distill_operator.render.rollout.order import ArmOrder, Runtime

MODEL_DIR: Final = "/artifact"
"""Where the artifact or claim is mounted; an artifact has its files below `models`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a runtime needs of its container."""

    arguments: Callable[[ArmOrder], list[str]]
    ready: str
    """Path that answers 200 once requests can be taken."""
    live: str
    """Path that answers 200 while the process is well."""
    metrics: str = "/metrics"


def model_path(order: ArmOrder) -> str:
    """Return the folder of the model inside the container."""
    if order.model.reference is not None:
        return f"{MODEL_DIR}/models"
    return f"{MODEL_DIR}/{order.model.path}".rstrip("/")


def _ours(order: ArmOrder) -> list[str]:
    """Return the flags of distill_server."""
    limits = ",".join(str(limit) for limit in order.latency_limits_milliseconds)
    flags = {
        "--model": model_path(order),
        "--served-model-name": order.served_name,
        "--runtime": order.runtime.value,
        "--port": str(order.port),
        "--arm": order.arm,
        "--drain-seconds": str(order.drain_seconds),
        **({"--latency-limits-ms": limits} if limits else {}),
    }
    return [word for pair in flags.items() for word in pair]


def _vllm(order: ArmOrder) -> list[str]:
    return [
        "--model",
        model_path(order),
        "--served-model-name",
        order.served_name,
        "--port",
        str(order.port),
    ]


def _triton(order: ArmOrder) -> list[str]:
    return [
        "tritonserver",
        f"--model-repository={model_path(order)}",
        f"--http-port={order.port}",
        "--strict-readiness=true",
    ]


LAUNCHES: Final[Mapping[Runtime, Launch]] = {
    Runtime.ONNX_RUNTIME: Launch(_ours, "/readyz", "/healthz"),
    Runtime.TORCH: Launch(_ours, "/readyz", "/healthz"),
    Runtime.VLLM: Launch(_vllm, "/health", "/health"),
    Runtime.TRITON: Launch(_triton, "/v2/health/ready", "/v2/health/live"),
}

if LAUNCHES.keys() != set(Runtime):
    raise AssertionError("every runtime must say how it is launched")
