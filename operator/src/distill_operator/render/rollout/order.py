"""What the children of a rollout are made from: frozen data that the planner fills in."""

from dataclasses import dataclass
from enum import StrEnum

from distill_api.job import PodTemplate

from distill_operator.render.order import Owner


class Runtime(StrEnum):
    """What serves a model."""

    ONNX_RUNTIME = "OnnxRuntime"
    TORCH = "Torch"
    VLLM = "VLLM"
    TRITON = "Triton"


@dataclass(frozen=True, slots=True)
class Model:
    """Where the files of a model are.

    Exactly one of: an OCI artifact pinned by digest, a claim, or nothing where the image of the
    server has the model in it.
    """

    reference: str | None = None
    """`registry/repository@sha256:...`, without a scheme."""
    claim: str | None = None
    path: str = ""
    """Folder of the model on the claim; on an artifact it is `models`."""


@dataclass(frozen=True, slots=True)
class ArmOrder:
    """One arm that we run."""

    owner: Owner
    arm: str
    """`teacher` or `student`."""
    name: str
    """Of its Deployment and its Service."""
    revision: str
    runtime: Runtime
    image: str
    model: Model
    served_name: str
    """What clients call the model: the same for both arms, so that they need not know."""
    replicas: int | None
    """None: an autoscaler decides."""
    template: PodTemplate
    port: int = 8080
    arguments: tuple[str, ...] = ()
    """More arguments for the server."""
    latency_limits_milliseconds: tuple[int, ...] = ()
    """Each becomes a boundary of the latency histogram."""
    drain_seconds: int = 20
    """Time between the end of readiness and of the process: gateways are told late."""
    image_volumes: bool = True


@dataclass(frozen=True, slots=True)
class Parent:
    """A Gateway that carries the route."""

    name: str
    namespace: str | None = None
    section: str | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """An arm as the route names it."""

    arm: str
    service: str
    port: int


@dataclass(frozen=True, slots=True)
class RouteOrder:
    """A route that we own."""

    owner: Owner
    name: str
    parents: tuple[Parent, ...]
    teacher: Backend
    student: Backend
    hostnames: tuple[str, ...] = ()
    path: str = "/"
    rule: str = "model"


@dataclass(frozen=True, slots=True)
class ProberOrder:
    """The prober of paired quality."""

    owner: Owner
    name: str
    image: str
    revision: str
    teacher_url: str
    student_url: str
    served_name: str
    metrics: tuple[str, ...]
    """Quality metrics that it scores."""
    queries: Model
    """Where the held-out queries are."""
    per_second: float
    template: PodTemplate
    port: int = 8080
