"""In which other forms the student is published: ONNX, a Triton repository, a TensorRT engine."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from distill_api.base import Model, NonNegativeInt, rule, rules
from distill_api.pods import ImageReference

TENSORRT_IMAGE: Final = "nvcr.io/nvidia/tensorrt:26.07-py3"
"""TensorRT 11.1; Triton's image of the same month has the same, which its engines need."""


class Onnx(Model):
    """The float student as ONNX graphs, held against its weights before they are published.

    Of an embedding student or a reranker: one graph with pooling, normalising and activation. Of
    what writes: a decoder with its cache as inputs and outputs, and for Seq2Seq an encoder.
    """

    opset: Annotated[int, Field(ge=18, le=23)] = 20
    """Version of ONNX's operators."""
    max_difference: Annotated[float, Field(gt=0, le=0.1)] = 1e-4
    """Largest difference between the graph's numbers and the weights' that is accepted, as a share
    of the largest number; more fails the stage."""


class TritonRepository(Model):
    """The student as a model repository that a Triton server loads as it is."""

    model_config = rules(
        rule(
            "self.preferredBatchSizes.all(s, s <= self.maxBatchSize)",
            "export.tritonRepository.preferredBatchSizes has a size above maxBatchSize: lower it,"
            " or raise maxBatchSize",
            at=".preferredBatchSizes",
        )
    )

    backend: Literal["OnnxRuntime", "Python"] = "OnnxRuntime"
    """What computes in the server. OnnxRuntime: Triton's own backend, which NVIDIA's images have.
    Python: the same graph by ONNX Runtime in Triton's Python backend, for servers without it, such
    as the one that server-image/triton/cpu/Dockerfile builds."""
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies of the model that compute side by side, on each GPU where there are some."""
    max_batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Texts in one request, and in one batch, at most."""
    preferred_batch_sizes: Annotated[
        list[Annotated[int, Field(ge=1, le=4096)]], Field(max_length=16)
    ] = [8, 16]
    """Sizes at which a batch waits for no more requests; the server computes one of each before it
    is ready."""
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    """How long a request waits for others to make up a batch."""


class EnginePrecision(StrEnum):
    """Number format of an engine's weights and activations."""

    FLOAT32 = "FLOAT32"
    FLOAT16 = "FLOAT16"


class EngineShape(Model):
    """Size of a batch that an engine is built for."""

    batch: Annotated[int, Field(ge=1, le=4096)]
    """Texts or pairs."""
    length: Annotated[int, Field(ge=1, le=131072)]
    """Tokens of each."""


def _rising(lower: str, upper: str) -> str:
    return f"self.{lower}.batch <= self.{upper}.batch && self.{lower}.length <= self.{upper}.length"


class TensorRt(Model):
    """A TensorRT engine of the graph, built by a Job of its own on a node with a GPU.

    An engine runs on the kind of GPU and the version of TensorRT that it was built with, and on no
    other.
    """

    model_config = rules(
        rule(
            f"{_rising('minShape', 'optShape')} && {_rising('optShape', 'maxShape')}",
            "export.tensorRT needs minShape <= optShape <= maxShape, in batch and in length",
            at=".optShape",
        )
    )

    precision: EnginePrecision = EnginePrecision.FLOAT16
    """Number format of weights and activations, written into the graph that the engine is built
    from."""
    min_shape: EngineShape = EngineShape(batch=1, length=1)
    """Smallest batch that the engine takes."""
    opt_shape: EngineShape = EngineShape(batch=8, length=128)
    """Batch that it is made fast for."""
    max_shape: EngineShape = EngineShape(batch=64, length=512)
    """Largest batch that it takes; no longer than what the student reads."""
    max_difference: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    """Largest difference between the engine's numbers and the weights' that is accepted, as a share
    of the largest number; more fails the stage."""
    image: ImageReference = TENSORRT_IMAGE
    """Image with Python and TensorRT 11 that builds."""
    gpus: Annotated[int, Field(ge=1, le=64)] = 1
    """Accelerators of the Job, of the kind podTemplate.gpuResource names."""
    workspace_mebibytes: Annotated[int, Field(ge=16, le=1_048_576)] = 4096
    """Memory of the GPU that building may use."""
    wait_seconds: NonNegativeInt = 300
    """How long the Job waits for a node with a free GPU; then the engine is left out, and status
    says so."""


class Export(Model):
    """Other forms of the student, published beside its weights in every target."""

    model_config = rules(
        rule(
            "has(self.onnx) || has(self.tritonRepository) || has(self.tensorRT)",
            "export needs at least one of onnx, tritonRepository and tensorRT: add one, or remove"
            " export",
        ),
        rule(
            "!has(self.tensorRT) || has(self.onnx)",
            "export.tensorRT is built from the ONNX graph: add export.onnx",
            at=".tensorRT",
        ),
    )

    onnx: Onnx | None = None
    """ONNX graphs; none by default."""
    triton_repository: TritonRepository | None = None
    """A Triton model repository; none by default."""
    tensor_rt: Annotated[TensorRt | None, Field(alias="tensorRT")] = None
    """A TensorRT engine; none by default."""
