"""The spec of a DistillationJob."""

from typing import Annotated, Literal

from pydantic import Field

from distill_api import job_rules
from distill_api.base import (
    DnsName,
    Model,
    NonNegativeInt,
    PositiveInt,
    Quantity,
    rule,
    rules,
)
from distill_api.data import Data
from distill_api.exports import Export
from distill_api.job_rules import fixed
from distill_api.outcome import Evaluation, Prices
from distill_api.pods import GpuResource, ImageReference, Labels, PullPolicy, Resources, Toleration
from distill_api.recipe import Component, Recipe
from distill_api.sources import SecretRef
from distill_api.student import Student
from distill_api.targets import ObjectStoreUri, Target
from distill_api.teacher import Teacher
from distill_api.training import Quantize, Sweep, Training


class StageResources(Model):
    """Resources of single stages, where they differ from podTemplate.resources."""

    label: Resources | None = None
    """For the label stage."""
    prepare: Resources | None = None
    """For the prepare stage."""
    train: Resources | None = None
    """For the train stage."""
    quantize: Resources | None = None
    """For the quantize stage."""
    export: Resources | None = None
    """For the export stage."""
    engine: Resources | None = None
    """For the engine stage; its accelerators are export.tensorRT.gpus."""
    evaluate: Resources | None = None
    """For the evaluate stage."""
    publish: Resources | None = None
    """For the publish stage."""


class PodTemplate(Model):
    """The part of the pods that you may shape."""

    # Running jobs have a task's text in their pods: its fields keep their order.

    image: ImageReference | None = None
    """Trainer image; the operator's own by default."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16)] = []
    """Secrets that open the image's registry."""
    service_account_name: DnsName | None = None
    """Service account of the pods; the namespace's default one by default."""
    resources: Resources = Resources()
    """Resources of every stage."""
    stage_resources: StageResources = StageResources()
    """Resources of single stages."""
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
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of tensor operations; the CPU limit or request rounded up by default. Fixed for a
    job, as the order of sums, and so the last bit of the weights, depends on it."""
    label_pods: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pods of the label stage. Each runs the teacher and takes pieces of the data until none is
    left; the labels are the same whatever their number."""


_WORKSPACE_RULE = rule(
    "(has(self.claimName) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
    " + (has(self.storageClassName) ? 1 : 0) <= 1",
    "workspace takes at most one of claimName (your volume), uri (an object store) and"
    " storageClassName (a volume made for the job)",
)


class LabelCache(Model):
    """Where labels are kept for other jobs with the same teacher and data."""

    model_config = rules(
        rule(
            "(has(self.claimName) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
            " + (has(self.disabled) && self.disabled ? 1 : 0) <= 1",
            "workspace.labelCache takes at most one of claimName, uri and disabled",
        )
    )

    claim_name: DnsName | None = None
    """Your PersistentVolumeClaim; by default one named `kubedistill-labels` is made in the
    namespace, which outlives the jobs. With workspace.uri the default is a folder `labels` below
    it instead."""
    uri: ObjectStoreUri | None = None
    """A prefix in an object store."""
    size: Quantity = "10Gi"
    """Size of the claim, when it is made."""
    disabled: bool = False
    """Keep labels in the job's own workspace only."""


class Workspace(Model):
    """Where the stages leave their results for each other."""

    model_config = rules(
        _WORKSPACE_RULE,
        rule(
            "!has(self.secretRef) || has(self.uri)",
            "workspace.secretRef opens an object store: give workspace.uri too, or remove it",
            at=".secretRef",
        ),
    )

    claim_name: DnsName | None = None
    """Your PersistentVolumeClaim. The job uses a folder of its own on it."""
    uri: ObjectStoreUri | None = None
    """A prefix in an object store, `s3://bucket/prefix` or `gs://bucket/prefix`."""
    secret_ref: SecretRef | None = None
    """Credentials for uri."""
    storage_class_name: DnsName | None = None
    """Class of the claim that is made for the job; the cluster's default by default."""
    size: Quantity = "10Gi"
    """Size of the claim that is made for the job."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] = "ReadWriteOnce"
    """Access mode of the claim that is made for the job."""
    label_cache: LabelCache = LabelCache()
    """Where labels are kept for other jobs."""


class DistillationJobSpec(Model):
    """What is distilled, from whom, from what, how, and where the student goes."""

    model_config = rules(*job_rules.RULES)

    component: Annotated[Component, Field(json_schema_extra=fixed("component"))]
    """The part of a retrieval pipeline that is distilled."""
    teacher: Annotated[Teacher, Field(json_schema_extra=fixed("teacher"))]
    """The large model whose knowledge is transferred."""
    student: Annotated[Student, Field(json_schema_extra=fixed("student"))]
    """The small model that learns."""
    data: Annotated[Data, Field(json_schema_extra=fixed("data"))]
    """What is learnt from."""
    recipe: Annotated[Recipe, Field(json_schema_extra=fixed("recipe"))]
    """The losses."""
    training: Annotated[Training, Field(json_schema_extra=fixed("training"))]
    """How the student is trained."""
    quantize: Annotated[Quantize | None, Field(json_schema_extra=fixed("quantize"))] = None
    """Make the weights smaller after training; not by default."""
    export: Annotated[Export | None, Field(json_schema_extra=fixed("export"))] = None
    """Write the student in other forms, too; not by default."""
    sweep: Annotated[Sweep | None, Field(json_schema_extra=fixed("sweep"))] = None
    """Train several students and keep the best; one by default."""
    evaluation: Annotated[Evaluation, Field(json_schema_extra=fixed("evaluation"))] = Evaluation()
    """How the student is measured against its teacher."""
    publish: Annotated[
        list[Target], Field(min_length=1, max_length=8, json_schema_extra=fixed("publish"))
    ]
    """Where the student goes; the first entry is the one in status.artifact."""
    workspace: Annotated[Workspace, Field(json_schema_extra=fixed("workspace"))] = Workspace()
    """Where the stages leave their results for each other."""
    pod_template: PodTemplate = PodTemplate()
    """Shape of the pods. A change reaches the stages that have not started."""
    prices: Prices = Prices()
    """What things cost."""
    suspend: bool = False
    """Stop the pods and wait; nothing that is complete is lost, training goes on from its last
    checkpoint."""
    queue_name: DnsName | None = None
    """LocalQueue of Kueue that admits the stages."""
    priority_class_name: DnsName | None = None
    """Priority of the pods."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Times a stage is tried again after a failure that may pass. Lost nodes and evictions do not
    count."""
    stage_deadline_seconds: PositiveInt | None = None
    """Longest time of one stage in seconds; none by default."""
    ttl_seconds_after_finished: NonNegativeInt | None = None
    """Delete this object, its pods and its workspace so many seconds after it finished. What was
    published stays."""
