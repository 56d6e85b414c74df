"""The two arms of a rollout: what serves the teacher, what serves the student, and the artifact."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from distill_api.base import (
    DnsLabel,
    DnsName,
    Model,
    Port,
    Quantity,
    Uri,
    listed_by,
    rule,
    rules,
    text,
)
from distill_api.names import DIGEST
from distill_api.pods import (
    EnvironmentVariable,
    GpuResource,
    ImageReference,
    Labels,
    PullPolicy,
    Resources,
    Toleration,
)
from distill_api.sources import SecretRef, StoredModel

Digest = Annotated[
    str,
    text(
        f"^{DIGEST}$",
        "digest must be sha256: and 64 hexadecimal digits in small letters, as"
        " status.artifact.digest of a DistillationJob has it",
        most=71,
    ),
]


GRACE_SECONDS: Final = 60
GRACE_SECONDS_OF_WRITING: Final = 120
"""Of VLLM: an answer takes as long as it is long."""
_GRACE: Final = (
    "(has(self.podTemplate.terminationGracePeriodSeconds)"
    " ? self.podTemplate.terminationGracePeriodSeconds"
    f" : self.runtime == 'VLLM' ? {GRACE_SECONDS_OF_WRITING} : {GRACE_SECONDS})"
)


class JobReference(Model):
    """A DistillationJob in the namespace of the rollout."""

    name: DnsName
    """Name of the job. The rollout waits until the job has published its student."""


class Artifact(Model):
    """The published student: by the job that made it, or by URI and digest."""

    model_config = rules(
        rule(
            "has(self.jobRef) != has(self.uri)",
            "artifact needs exactly one of jobRef (a DistillationJob) and uri (with its digest)",
        ),
        rule(
            "has(self.uri) == has(self.digest)",
            "artifact.uri and artifact.digest go together, so that nothing else is served than"
            " what was evaluated: give both, or use jobRef",
            at=".digest",
        ),
        rule(
            "!has(self.uri) || self.uri.matches('^(oci|s3|gs|pvc)://.+')",
            "artifact.uri must start with oci://, s3://, gs:// or pvc://, as status.artifact.uri of"
            " a DistillationJob does",
            at=".uri",
        ),
        rule(
            "!has(self.uri) || !has(self.digest) || !self.uri.contains('@')"
            " || self.uri.endsWith('@' + self.digest)",
            "artifact.uri ends with another digest than artifact.digest: make them equal, or"
            " remove the one in the uri",
            at=".digest",
        ),
        rule(
            "!self.plainHttp || (has(self.uri) && self.uri.startsWith('oci://'))",
            "artifact.plainHttp is for a uri with oci:// only: remove it",
            at=".plainHttp",
        ),
    )

    job_ref: JobReference | None = None
    """The DistillationJob whose `status.artifact` is rolled out."""
    uri: Uri | None = None
    """Where the student is: `oci://registry/repository[:tag]`, `s3://bucket/prefix`,
    `gs://bucket/prefix` or `pvc://claim/path`."""
    digest: Digest | None = None
    """Digest of what uri names, `sha256:` and 64 digits. Nothing else is served."""
    secret_ref: SecretRef | None = None
    """Credentials: a docker config for `oci://`, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for
    `s3://`."""
    plain_http: bool = False
    """Talk to an `oci://` registry without TLS. Only for registries inside the cluster. What a job
    published with plainHttp is pulled so without being told."""


class Runtime(StrEnum):
    """What answers the requests of an arm."""

    ONNX_RUNTIME = "OnnxRuntime"
    TORCH = "Torch"
    VLLM = "VLLM"
    TRITON = "Triton"


class ServingPodTemplate(Model):
    """The part of an arm's pods that you may shape."""

    image_pull_policy: PullPolicy = "IfNotPresent"
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16)] = []
    """Secrets that open the image's registry, and that of a model which is mounted as an image."""
    service_account_name: DnsName | None = None
    """Service account of the pods; the namespace's default one by default."""
    priority_class_name: DnsName | None = None
    """Priority of the pods."""
    gpu_resource: GpuResource = "nvidia.com/gpu"
    """Extended resource that `gpu` counts."""
    node_selector: Labels = {}
    """Labels of the nodes that may run the pods."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints that the pods accept."""
    runtime_class_name: DnsName | None = None
    """Container runtime of the pods."""
    labels: Labels = {}
    """More labels for the pods."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)
    ] = {}
    """More annotations for the pods."""
    env: Annotated[
        list[EnvironmentVariable],
        Field(
            max_length=64,
            json_schema_extra=listed_by("name"),
        ),
    ] = []
    """More environment variables."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Seconds that a pod has to finish its requests when it is taken away: 60 by default, and 120
    of VLLM, whose answers take longer."""


class Readiness(Model):
    """When a pod takes requests."""

    path: (
        Annotated[
            str,
            text(r"^/\S*$", "readiness.path must start with / and have no spaces", most=256),
        ]
        | None
    ) = None
    """Path that answers 200 when the pod can serve: `/readyz` of our server, `/health` of VLLM and
    `/v2/health/ready` of Triton by default."""
    period_seconds: Annotated[int, Field(ge=1, le=300)] = 1
    """Seconds between two questions."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 2
    """Wrong answers in a row after which a pod gets no more requests."""
    startup_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    """Longest time from start to the first right answer; then the pod is started anew."""


class LoraAdapter(Model):
    """An adapter that is served beside the model, under a name of its own."""

    name: Annotated[str, text(r"^\S+$", "an adapter's name has no spaces", most=256)]
    """What clients call it, in place of the model's name."""
    model: StoredModel
    """Where it is: `oci://` or `pvc://`, a folder as PEFT writes it."""


class ServingDeployment(Model):
    """Pods that the rollout runs, behind a Service that it makes.

    Deployment and Service are named after the rollout and the arm: `NAME-teacher`, `NAME-student`.
    """

    model_config = rules(
        rule(
            "self.runtime in ['OnnxRuntime', 'Torch'] || has(self.image)",
            "the runtimes VLLM and Triton need deployment.image, for example vllm/vllm-openai with"
            " a tag or digest, or what server-image/vllm builds; only OnnxRuntime and Torch come"
            " with kubedistill",
            at=".image",
        ),
        rule(
            f"self.drainSeconds < {_GRACE}",
            "deployment.drainSeconds must be below podTemplate.terminationGracePeriodSeconds (60 by"
            " default, 120 of VLLM), or requests in flight are cut off: lower the one or raise the"
            " other",
            at=".drainSeconds",
        ),
        rule(
            "self.runtime == 'VLLM' || size(self.loraAdapters) == 0",
            "only runtime VLLM serves LoRA adapters beside a model: remove deployment.loraAdapters,"
            " and merge an adapter into the model for other runtimes",
            at=".loraAdapters",
        ),
        rule(
            "!has(self.servedModelName)"
            " || !self.loraAdapters.exists(a, a.name == self.servedModelName)",
            "an adapter has the model's own name, so requests could not tell them apart: give it"
            " another one",
            at=".loraAdapters",
        ),
    )

    runtime: Runtime = Runtime.ONNX_RUNTIME
    """OnnxRuntime or Torch: kubedistill's own server. VLLM, Triton: a server whose image you
    name, with its own names of metrics."""
    image: ImageReference | None = None
    """Image of the server; the operator's own by default."""
    model: StoredModel | None = None
    """What is served. For the student it is always the artifact; for the teacher the one of the
    job that artifact.jobRef names by default."""
    served_model_name: (
        Annotated[str, text(r"^\S+$", "servedModelName must be a name without spaces", most=256)]
        | None
    ) = None
    """Name of the model in requests; the name of the rollout by default, equal for both arms, so
    that clients need not know who answers."""
    replicas: Annotated[int, Field(ge=1, le=256)] | None = None
    """Pods. Without it one is made, and the number is left to an autoscaler from then on."""
    resources: Resources = Resources()
    """Resources of each pod."""
    pod_template: ServingPodTemplate = ServingPodTemplate()
    """Shape of the pods."""
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] = []
    """More arguments for the server."""
    port: Port | None = None
    """Port of the server: 8080 for our server, 8000 for VLLM and Triton by default."""
    metrics_port: Port | None = None
    """Port of the metrics, where it is another one: 8002 for Triton by default."""
    readiness: Readiness = Readiness()
    """When a pod takes requests."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that a pod which is taken away goes on serving, until every gateway knows. Of VLLM it
    is a wait before the server is told; requests under way then have the rest of
    podTemplate.terminationGracePeriodSeconds, if its image is kubedistill's."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which counts as the pod's memory once it is used; 1Gi for VLLM and
    256Mi for Triton by default. Others have what the container runtime gives, 64Mi mostly."""
    lora_adapters: Annotated[
        list[LoraAdapter], Field(max_length=16, json_schema_extra=listed_by("name"))
    ] = []
    """Adapters that VLLM serves beside the model, mounted as the model is. A rank above 16 needs
    `--max-lora-rank` in args."""

    @property
    def grace_seconds(self) -> int:
        """Seconds from when a pod is taken away until it is killed."""
        writes = self.runtime is Runtime.VLLM
        given = self.pod_template.termination_grace_period_seconds
        return given or (GRACE_SECONDS_OF_WRITING if writes else GRACE_SECONDS)


class ExistingService(Model):
    """A Service of the rollout's namespace that somebody else runs; nothing of it is changed."""

    name: DnsLabel
    """Name of the Service."""
    port: Port
    """Port of the Service that takes the requests."""
    runtime: Runtime = Runtime.ONNX_RUNTIME
    """What answers behind it, so that its counters are understood."""
    metrics_port: Port | None = None
    """Port of its pods with the metrics; the port that takes the requests by default."""


class Arm(Model):
    """One side of a rollout: pods that the rollout runs, or a Service that is there already."""

    model_config = rules(
        rule(
            "has(self.deployment) != has(self.service)",
            "an arm needs exactly one of deployment (pods that the rollout runs) and service (a"
            " Service that is there already)",
        )
    )

    deployment: ServingDeployment | None = None
    """Pods that the rollout runs."""
    service: ExistingService | None = None
    """A Service that is there already."""
