"""How each runtime is started, asked for its health and counted: one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from distill_api.rollout_arms import Runtime

from distill_operator.render.rollout.order import ArmOrder

MODEL_DIR: Final = "/artifact"
"""Where the artifact or claim is mounted; an artifact has its files below `models`."""


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


def model_path(order: ArmOrder) -> str:
    """Return the folder of the model inside the container."""
    if order.model.reference is not None:
        return f"{MODEL_DIR}/models"
    return f"{MODEL_DIR}/{order.model.path}".rstrip("/")


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
    return [word for pair in flags.items() for word in pair]


def _triton(order: ArmOrder) -> list[str]:
    return [
        "tritonserver",
        f"--model-repository={model_path(order)}",
        f"--http-port={port(order)}",
        f"--metrics-port={metrics_port(order)}",
        "--strict-readiness=true",
    ]


LAUNCHES: Final[Mapping[Runtime, Launch]] = {
    Runtime.ONNX_RUNTIME: Launch(_ours, 8080, "/readyz", "/healthz"),
    Runtime.TORCH: Launch(_ours, 8080, "/readyz", "/healthz"),
    Runtime.VLLM: Launch(_vllm, 8000, "/health", "/health"),
    Runtime.TRITON: Launch(_triton, 8000, "/v2/health/ready", "/v2/health/live", 8002),
}

if LAUNCHES.keys() != set(Runtime):
    raise AssertionError("every runtime must say how it is launched")
