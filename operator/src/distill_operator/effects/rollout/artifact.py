"""The student's artifact, as its job has published it or the spec names it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from distill_api.names import DIGEST
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_arms import Runtime
from distill_api.student import StudentArchitecture

from distill_operator.effects import observe
from distill_operator.effects.kinds import DISTILLATION_JOB
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.model import ObservedArtifact

SEQ2SEQ: Final = StudentArchitecture.SEQ2SEQ.value
MOUNTED: Final = ("oci://", "pvc://")
"""Places that a pod can mount, the best first."""


def look(spec: DistilledModelRolloutSpec, namespace: str, store: Store) -> ObservedArtifact:
    """Return the artifact, or why there is none yet."""
    given = spec.artifact
    if given is None:
        return ObservedArtifact()
    if given.job_ref is None:
        return ObservedArtifact(given.uri, given.digest, plain_http=given.plain_http)
    body = store.named(DISTILLATION_JOB, namespace, given.job_ref.name)
    if body is None:
        return ObservedArtifact(
            problem=f"there is no DistillationJob {given.job_ref.name} in namespace {namespace}"
        )
    refused = _unservable(spec, body)
    return of_job(body) if refused is None else ObservedArtifact(problem=refused, final=True)


def _unservable(spec: DistilledModelRolloutSpec, body: Manifest) -> str | None:
    """Return why a student can never be served so: known from its job before it is published."""
    name, job = body["metadata"]["name"], body["spec"]
    served = spec.student.deployment or spec.student.service
    made = job.get("component")
    if made is not None and made != spec.component:
        return (
            f"DistillationJob {name} makes a student of component {made}, and the rollout is of a"
            f" {spec.component}: create a rollout with component {made}, or name another job"
        )
    architecture = (job.get("student") or {}).get("architecture")
    if architecture == SEQ2SEQ and served is not None and served.runtime is Runtime.VLLM:
        return (
            f"the student of DistillationJob {name} is an encoder-decoder (architecture"
            f" {SEQ2SEQ}, such as T5), and vLLM serves decoders only: serve it by a server of"
            " your own (student.service), or train a student of architecture Causal"
        )
    return _without_repository(spec, name, job) or _without_teacher(spec, name, body)


def _without_repository(
    spec: DistilledModelRolloutSpec, name: str, job: Mapping[str, Any]
) -> str | None:
    """Return why Triton's pods would find nothing to serve."""
    runs = spec.student.deployment
    if runs is None or runs.runtime is not Runtime.TRITON:
        return None
    if (job.get("export") or {}).get("tritonRepository") is not None:
        return None
    return (
        f"DistillationJob {name} publishes no model repository for Triton: make the student of"
        " another job, with export.tritonRepository, or serve it by another runtime"
    )


def _without_teacher(spec: DistilledModelRolloutSpec, name: str, body: Manifest) -> str | None:
    """Return why the teacher's pods would have no model: an image of its own may have it inside."""
    runs = spec.teacher.deployment
    if runs is None or runs.model is not None or runs.image is not None:
        return None
    uri = _model(body).get("uri")
    if uri is not None and uri.startswith(MOUNTED):
        return None
    where = "is behind an endpoint" if uri is None else f"is {uri}, which no pod can mount"
    return (
        f"the teacher of DistillationJob {name} {where}: name a copy of it in an OCI registry or on"
        " a volume in teacher.deployment.model, or a Service that serves it in teacher.service"
    )


def of_job(body: Manifest) -> ObservedArtifact:
    """Return what a DistillationJob has published."""
    name, status = body["metadata"]["name"], body.get("status") or {}
    published = status.get("artifact")
    if not published:
        return _nothing(name, status)
    places = [published["uri"], *(published.get("also") or ())]
    best = next((uri for start in MOUNTED for uri in places if uri.startswith(start)), None)
    if best is None:
        return ObservedArtifact(
            problem=f"DistillationJob {name} has published to {', '.join(places)} only, which no"
            " pod can mount: publish to an OCI registry or a volume as well"
        )
    return ObservedArtifact(
        uri=best,
        digest=_digest(best, status),
        plain_http=_plain(body, best),
        job=name,
        scores=_scores(status),
        token_ids_digest=published.get("tokenIdsDigest"),
        **_teacher(body),
        **_cost(status),
    )


def _model(body: Manifest) -> Mapping[str, Any]:
    """Return what a job's spec says of its teacher's weights; nothing of one behind an endpoint."""
    return (body["spec"].get("teacher") or {}).get("model") or {}


def _teacher(body: Manifest) -> dict[str, Any]:
    """Return the job's teacher as the job read it."""
    told = _model(body)
    read = ((body["status"].get("artifact") or {}).get("lineage") or {}).get("teacher") or ""
    return {
        "teacher_uri": told.get("uri"),
        "teacher_digest": read if re.fullmatch(DIGEST, read) else None,
        "teacher_secret": (told.get("secretRef") or {}).get("name"),
        "teacher_plain_http": bool(told.get("plainHttp")),
    }


def _scores(status: dict[str, Any]) -> dict[str, float]:
    """Return the student's scores in the job's evaluation, by measure."""
    told = (status.get("evaluation") or {}).get("scores") or ()
    return {entry["measure"]: float(entry["student"]) for entry in told}


def _cost(status: dict[str, Any]) -> dict[str, Any]:
    """Return what the job cost; an amount of 0 is one without prices."""
    told = status.get("cost") or {}
    amount = float(told.get("amount") or 0)
    return {"job_cost": amount, "job_currency": told.get("currency")} if amount else {}


def _nothing(name: str, status: dict[str, Any]) -> ObservedArtifact:
    for entry in status.get("conditions") or ():
        if (entry["type"], entry["status"]) == ("Succeeded", "False"):
            why = entry.get("message") or entry.get("reason", "")
            return ObservedArtifact(problem=f"DistillationJob {name} has failed: {why}", final=True)
    if observe.condition(status, "Succeeded"):
        return ObservedArtifact(
            problem=f"DistillationJob {name} has succeeded and published no artifact", final=True
        )
    return ObservedArtifact(problem=f"DistillationJob {name} has not published its student yet")


def _digest(uri: str, status: dict[str, Any]) -> str:
    """Return the digest of a place: an OCI reference has its own, and so has each publication."""
    _, at, digest = uri.partition("@")
    if at:
        return digest
    known = {told.get("uri"): told.get("digest") for told in status.get("publications") or ()}
    return str(known.get(uri) or status["artifact"]["digest"])


def _plain(body: Manifest, uri: str) -> bool:
    """Tell whether the job published to this registry without TLS."""
    for target in body["spec"].get("publish") or ():
        oci = target.get("oci") or {}
        if oci.get("plainHttp") and uri.startswith(f"oci://{oci.get('repository')}"):
            return True
    return False
