"""What the children of a rollout are made from: frozen data that the planner fills in."""

from dataclasses import dataclass
from typing import Final

from distill_api.probing import Protocol
from distill_api.rollout_arms import ServingDeployment
from distill_api.rollout_policies import Prober
from distill_api.rollout_route import OwnedRoute

from distill_operator.render.order import Owner

PROBER_PORT: Final = 8080


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
    digest: str | None = None
    """Of the folder's content on a claim, which anybody may write to; None: whatever is there."""
    secret: str | None = None
    """Docker config that opens the artifact's registry."""
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that is served beside the model."""

    name: str
    model: Model


@dataclass(frozen=True, slots=True)
class ArmOrder:
    """One arm that we run."""

    owner: Owner
    arm: str
    """`teacher` or `student`."""
    name: str
    """Of its Deployment and its Service."""
    revision: str
    deployment: ServingDeployment
    """As the spec has it."""
    image: str
    model: Model
    served_name: str
    """What clients call the model: the same for both arms, so that they need not know."""
    replicas: int | None
    """None: an autoscaler decides."""
    latency_limits_milliseconds: tuple[int, ...] = ()
    """Each becomes a boundary of the latency histogram."""
    image_volumes: bool = True
    fetch_image: str | None = None
    """Image of the init container that copies an artifact; None: the server's own has the
    program."""
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """An arm as the route names it."""

    arm: str
    service: str
    port: int


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Where copies of users' requests go, and how many."""

    service: str
    port: int
    percent: int


@dataclass(frozen=True, slots=True)
class RouteOrder:
    """A route that we own."""

    owner: Owner
    name: str
    route: OwnedRoute
    """As the spec has it."""
    teacher: Backend
    student: Backend
    rule: str = "model"
    mirror: Mirrored | None = None


@dataclass(frozen=True, slots=True)
class ProberOrder:
    """The prober of paired quality."""

    owner: Owner
    name: str
    prober: Prober
    """As the spec has it."""
    image: str
    component: str
    """Part of the pipeline: it says how the arms are asked."""
    teacher_url: str
    student_url: str
    served_name: str
    measures: tuple[tuple[str, str], ...]
    """Quality metric and its measure, by held-out queries."""
    mirrored: tuple[tuple[str, str], ...] = ()
    """The same, by users' queries."""
    models: str | None = None
    """Names what both arms serve; None where their servers tell."""
    port: int = PROBER_PORT
    teacher_protocol: Protocol = Protocol.OPEN_AI
    student_protocol: Protocol = Protocol.OPEN_AI
