"""From the spec to everything it asks for: policy, names, and what children are made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from distill_api.probing import Protocol
from distill_api.recipe import Component
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_arms import Arm as WantedArm
from distill_api.rollout_arms import Runtime, ServingDeployment
from distill_api.rollout_metrics import Latency, QuerySource
from distill_api.sources import StoredModel

from distill_operator.plan.rollout import policies, wanted
from distill_operator.plan.rollout.baselines import Known
from distill_operator.plan.rollout.model import Arm, ObservedArtifact, PreviousStudent, Settings
from distill_operator.plan.rollout.traffic import Backends
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.order import Owner
from distill_operator.render.rollout import runtimes
from distill_operator.render.rollout.order import (
    PROBER_PORT,
    Adapter,
    ArmOrder,
    Backend,
    Mirrored,
    Model,
    ProberOrder,
    RouteOrder,
)

LONGEST: Final = 63
"""Characters of the name of a Service."""

OWN: Final = (Runtime.ONNX_RUNTIME, Runtime.TORCH)
"""Runtimes whose image has our own programs."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a spec is resolved with."""

    owner: Owner
    spec: DistilledModelRolloutSpec
    artifact: ObservedArtifact
    settings: Settings
    previous: Mapping[str, PreviousStudent] = field(default_factory=dict)
    """Other rollouts that quality is compared with, by name."""


def of(given: Given) -> Wanted:
    """Return what the spec asks for."""
    teacher, student = (_order(given, arm) for arm in Arm)
    backends = Backends(*(_service(given, arm) for arm in Arm))
    return Wanted(
        policy=policies.of(given.spec, Known(given.artifact, given.previous)),
        backends=backends,
        teacher=teacher,
        student=student,
        route=_route(given, backends, teacher, student),
        prober=_prober(given, backends, teacher, student),
    )


def child(owner: Owner, arm: str) -> str:
    """Return the name of a child: `NAME-teacher`, `NAME-student`, `NAME-prober`."""
    stem = owner.name.replace(".", "-")[: LONGEST - len(arm) - 1].rstrip("-")
    return f"{stem}-{arm}"


def _arm(given: Given, arm: Arm) -> WantedArm:
    return given.spec.student if arm is Arm.STUDENT else given.spec.teacher


def _service(given: Given, arm: Arm) -> str:
    found = _arm(given, arm).service
    return found.name if found is not None else child(given.owner, arm.value)


def _order(given: Given, arm: Arm) -> ArmOrder | None:
    """Return the order of an arm; None for a Service that somebody else runs."""
    asked = _arm(given, arm).deployment
    if asked is None:
        return None
    order = ArmOrder(
        owner=given.owner,
        arm=arm.value,
        name=child(given.owner, arm.value),
        revision="",
        deployment=asked,
        image=asked.image or given.settings.server_image,
        model=_model(given, arm, asked),
        served_name=served_name(given),
        replicas=asked.replicas,
        latency_limits_milliseconds=latency_limits(given.spec),
        image_volumes=given.settings.image_volumes,
        fetch_image=None if asked.runtime in OWN else given.settings.server_image,
        adapters=tuple(Adapter(own.name, _stored(own.model)) for own in asked.lora_adapters),
    )
    return replace(order, revision=wanted.revision(order) or "")


def served_name(given: Given) -> str:
    """Return what clients call the model: the student's own setting, else the rollout's name."""
    for arm in (given.spec.student, given.spec.teacher):
        if arm.deployment is not None and arm.deployment.served_model_name is not None:
            return arm.deployment.served_model_name
    return given.owner.name


def latency_limits(spec: DistilledModelRolloutSpec) -> tuple[int, ...]:
    """Return the limits that the servers' histograms need a bucket at, sorted."""
    kinds = (metric.kind for metric in spec.metrics)
    return tuple(sorted({k.limit_milliseconds for k in kinds if isinstance(k, Latency)}))


def _model(given: Given, arm: Arm, asked: ServingDeployment) -> Model:
    """Return what an arm serves: the artifact, the model that is named, or the job's teacher."""
    if arm is Arm.STUDENT:
        artifact = given.spec.artifact
        secret = artifact.secret_ref.name if artifact and artifact.secret_ref else None
        plain = given.artifact.plain_http or bool(artifact and artifact.plain_http)
        return model(given.artifact.uri, given.artifact.digest, secret=secret, plain=plain)
    if asked.model is None:
        return _of_job(given.artifact)
    return _stored(asked.model)


def _of_job(artifact: ObservedArtifact) -> Model:
    """Return the teacher of the job as the job read it: its digest, its credentials."""
    uri = artifact.teacher_uri
    # A folder on a claim was digested before our list of files was beside it, or was never ours.
    digest = artifact.teacher_digest if uri and uri.startswith("oci://") else None
    secret, plain = artifact.teacher_secret, artifact.teacher_plain_http
    return model(uri, digest, secret=secret, plain=plain)


def _stored(named: StoredModel) -> Model:
    secret = named.secret_ref.name if named.secret_ref else None
    return model(named.uri, None, secret=secret, plain=named.plain_http)


def model(
    uri: str | None, digest: str | None, *, secret: str | None = None, plain: bool = False
) -> Model:
    """Return the model behind a URI; `oci://` by its digest, `pvc://` by its claim and folder.

    digest: of the manifest in a registry, of the content on a claim.

    Any other place has no volume: the server is given no model, and says so.
    """
    if uri is None:
        return Model()
    scheme, _, rest = uri.partition("://")
    if scheme == "oci":
        return Model(reference=_pinned(rest, digest), secret=secret, plain_http=plain)
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return Model(claim=claim, path=path.strip("/"), digest=digest)
    return Model()


def _pinned(reference: str, digest: str | None) -> str:
    """Return `registry/repository@digest`: a tag may be moved, a digest never."""
    if digest is None:
        return reference
    stem = reference.split("@", 1)[0]
    head, slash, tail = stem.rpartition("/")
    return f"{head}{slash}{tail.split(':', 1)[0]}@{digest}"


def _backend(given: Given, arm: Arm, name: str, order: ArmOrder | None) -> Backend:
    found = _arm(given, arm).service
    port = found.port if found is not None else runtimes.port(_made(order))
    return Backend(arm.value, name, port)


def _made(order: ArmOrder | None) -> ArmOrder:
    if order is None:
        raise AssertionError("an arm is a Deployment of ours or somebody's Service")
    return order


def _route(
    given: Given, backends: Backends, teacher: ArmOrder | None, student: ArmOrder | None
) -> RouteOrder | None:
    asked = given.spec.gateway.route
    if asked is None:
        return None
    return RouteOrder(
        owner=given.owner,
        name=given.owner.name,
        route=asked,
        teacher=_backend(given, Arm.TEACHER, backends.teacher, teacher),
        student=_backend(given, Arm.STUDENT, backends.student, student),
        mirror=_mirror(given),
    )


def _mirror(given: Given) -> Mirrored | None:
    asked = given.spec.prober.mirror if given.spec.prober is not None else None
    if asked is None:
        return None
    return Mirrored(child(given.owner, "prober"), PROBER_PORT, asked.percent)


def _prober(
    given: Given, backends: Backends, teacher: ArmOrder | None, student: ArmOrder | None
) -> ProberOrder | None:
    """Return the prober; it asks the Services, as the gateway's share must not decide whom."""
    asked = given.spec.prober
    if asked is None:
        return None
    ends = (
        _backend(given, Arm.TEACHER, backends.teacher, teacher),
        _backend(given, Arm.STUDENT, backends.student, student),
    )
    return ProberOrder(
        owner=given.owner,
        name=child(given.owner, "prober"),
        prober=asked,
        image=asked.image or given.settings.prober_image,
        component=given.spec.component.value,
        teacher_url=f"http://{ends[0].service}:{ends[0].port}",
        student_url=f"http://{ends[1].service}:{ends[1].port}",
        served_name=served_name(given),
        measures=tuple(_measures(given, QuerySource.HELD_OUT)),
        mirrored=tuple(_measures(given, QuerySource.MIRRORED)),
        models=_models(given, teacher, student),
        teacher_protocol=_protocol(given, Arm.TEACHER),
        student_protocol=_protocol(given, Arm.STUDENT),
    )


def _models(given: Given, teacher: ArmOrder | None, student: ArmOrder | None) -> str | None:
    """Name what both arms serve: a foreign server of text names no model in its answers.

    Our other servers do, and a prober that is told is started anew with every change.
    """
    if given.spec.component is not Component.GENERATOR:
        return None
    ends = (_service(given, Arm.TEACHER), _service(given, Arm.STUDENT))
    known = (order.revision if order else None for order in (teacher, student))
    return "-".join(own or end for own, end in zip(known, ends, strict=True))


def _protocol(given: Given, arm: Arm) -> Protocol:
    """Return how an arm is asked: Triton knows nothing of OpenAI's paths."""
    asked = _arm(given, arm)
    runs = asked.deployment or asked.service
    assert runs is not None
    triton = runs.runtime is Runtime.TRITON
    return Protocol.OPEN_INFERENCE if triton else Protocol.OPEN_AI


def _measures(given: Given, source: QuerySource) -> Iterator[tuple[str, str]]:
    for metric in given.spec.metrics:
        if metric.quality is not None and metric.quality.source is source:
            yield metric.name, metric.quality.measure.value
