"""Settings of the repository's models, as Triton's own message has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distill_api import triton
from tritonclient.grpc import model_config_pb2 as messages

LENGTH: Final = -1
"""A dimension that differs from request to request."""
WARM_LENGTH: Final = 16
"""Tokens of each text in a warm-up."""
WAITING: Final = 1024
"""Requests that may wait for the graph; more are refused, as waiting longer would not help them."""
PYTHON: Final = "python"
ONNX_RUNTIME: Final = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Shape:
    """What the graph takes and gives."""

    inputs: tuple[str, ...]
    output: str
    width: int
    """Of an embedding; 1 for a score."""
    pairs: bool
    """Whether it reads pairs of query and document."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests are put together."""

    most: int
    preferred: tuple[int, ...]
    delay_microseconds: int
    instances: int


def ensemble(shape: Shape, weights: str, batching: Batching) -> Any:
    """Return the model that clients ask for: texts in, numbers out, no name of its own.

    Without a batch dimension: its tensors then have the shapes that distill_server's have.
    """
    found = messages.ModelConfig(platform="ensemble", max_batch_size=0)
    _versions(found)
    for name in _texts(shape):
        found.input.add(name=name, data_type=messages.TYPE_STRING, dims=[_count(name)])
    name = triton.SCORE if shape.pairs else triton.EMBEDDING
    found.output.add(name=name, data_type=messages.TYPE_FP32, dims=[LENGTH, shape.width])
    found.parameters[triton.WEIGHTS].string_value = weights
    found.parameters[triton.MOST].string_value = str(batching.most)
    _steps(found, shape, name)
    return found


def _steps(found: Any, shape: Shape, name: str) -> None:
    first = found.ensemble_scheduling.step.add(model_name=triton.TOKENS, model_version=-1)
    second = found.ensemble_scheduling.step.add(model_name=triton.GRAPH, model_version=-1)
    for text in _texts(shape):
        first.input_map[text] = text
    for tensor in shape.inputs:
        first.output_map[tensor] = second.input_map[tensor] = tensor
    second.output_map[shape.output] = name


def tokens(shape: Shape, reading: Mapping[str, Any], token_ids: str, batching: Batching) -> Any:
    """Return the model that makes tokens."""
    found = messages.ModelConfig(backend=PYTHON, max_batch_size=0)
    _versions(found)
    for name in _texts(shape):
        found.input.add(name=name, data_type=messages.TYPE_STRING, dims=[_count(name)])
    # The mask is given even where the graph has no use for it: it says which ids are filling.
    for name in dict.fromkeys([*shape.inputs, triton.ATTENTION_MASK]):
        found.output.add(name=name, data_type=messages.TYPE_INT64, dims=[LENGTH, LENGTH])
    found.parameters["reading"].string_value = json.dumps(reading, sort_keys=True)
    found.parameters[triton.TOKEN_IDS].string_value = token_ids
    found.instance_group.add(kind=messages.ModelInstanceGroup.KIND_CPU, count=batching.instances)
    return found


def graph(shape: Shape, batching: Batching, computing: Mapping[str, Any] | None) -> Any:
    """Return the model that computes.

    computing: what our code in the Python backend has to know; None for the ONNX Runtime backend.
    """
    backend = ONNX_RUNTIME if computing is None else PYTHON
    found = messages.ModelConfig(backend=backend, max_batch_size=batching.most)
    _versions(found)
    for name in shape.inputs:
        # Our code fills up by itself; the ONNX Runtime backend cannot, and gets equal lengths only.
        ragged = computing is not None
        found.input.add(
            name=name, data_type=messages.TYPE_INT64, dims=[LENGTH], allow_ragged_batch=ragged
        )
    found.output.add(name=shape.output, data_type=messages.TYPE_FP32, dims=[shape.width])
    found.instance_group.add(kind=messages.ModelInstanceGroup.KIND_AUTO, count=batching.instances)
    _batching(found, batching)
    for size in sorted({1, *batching.preferred}):
        _warm_up(found, shape, size)
    if computing is not None:
        found.parameters["computing"].string_value = json.dumps(computing, sort_keys=True)
    return found


def _batching(found: Any, batching: Batching) -> None:
    own = found.dynamic_batching
    own.preferred_batch_size.extend(batching.preferred)
    own.max_queue_delay_microseconds = batching.delay_microseconds
    own.default_queue_policy.max_queue_size = WAITING


def _warm_up(found: Any, shape: Shape, size: int) -> None:
    """Let a batch be computed before the server is ready: the first one takes longest."""
    own = found.model_warmup.add(name=f"{size} texts", batch_size=size)
    for name in shape.inputs:
        own.inputs[name].CopyFrom(
            messages.ModelWarmup.Input(
                data_type=messages.TYPE_INT64, dims=[WARM_LENGTH], zero_data=True
            )
        )


def _versions(found: Any) -> None:
    found.version_policy.latest.num_versions = 1


def _texts(shape: Shape) -> tuple[str, ...]:
    return (triton.QUERY, triton.DOCUMENTS) if shape.pairs else (triton.TEXT,)


def _count(name: str) -> int:
    return 1 if name == triton.QUERY else LENGTH
