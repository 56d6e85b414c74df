"""Flags and environment become one frozen object, read once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Runtime(StrEnum):
    """What computes."""

    ONNX_RUNTIME = "OnnxRuntime"
    TORCH = "Torch"


class Settings(BaseSettings):
    """Every flag is also a variable: --max-batch is DISTILL_SERVER_MAX_BATCH; flags win."""

    model_config = SettingsConfigDict(
        env_prefix="DISTILL_SERVER_",
        frozen=True,
        cli_prog_name="python -m distill_server",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model: Path = Path("/models")
    """Folder of the model."""
    served_model_name: str = "model"
    """Name of the model in requests."""
    runtime: Runtime = Runtime.ONNX_RUNTIME
    """OnnxRuntime or Torch."""
    arm: Literal["teacher", "student"] = "student"
    """Side of a rollout; the label `variant` of every metric."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod is reached by its address
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 takes a free one."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of a computation; 0 takes as many as the container may use."""
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 32
    """Sequences in a batch."""
    max_batch_tokens: Annotated[int, Field(ge=1)] = 16_384
    """Tokens in a batch, padding included; a longer sequence is a batch of its own."""
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    """Milliseconds that an idle server waits for a batch to fill up."""
    max_queue: Annotated[int, Field(ge=1)] = 2048
    """Sequences that may wait; beyond them requests are refused with 503."""
    max_inputs: Annotated[int, Field(ge=1)] = 1024
    """Texts or documents in a request."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 2**20
    """Bytes of a request's body."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds that a request may take; a gateway's x-envoy-expected-rq-timeout-ms lowers it."""
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0
    """Seconds that a terminating server goes on serving, until every gateway knows."""
    latency_limits_ms: Annotated[tuple[Annotated[float, Field(gt=0)], ...], NoDecode] = (150.0,)
    """Milliseconds, separated by commas; the histogram has a boundary at exactly each."""

    @field_validator("latency_limits_ms", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part for part in value.replace("[", "").replace("]", "").split(",") if part)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_inputs > self.max_queue:
            raise ValueError(
                f"max_inputs is {self.max_inputs} and only max_queue {self.max_queue} may wait, so"
                " such a request could never be taken: lower max_inputs or raise max_queue"
            )
        return self
