"""What users may shape of pods: those of a job's stages and those of a rollout's arms."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from distill_api.base import Model, Quantity, rule, rules, text
from distill_api.sources import SecretKeyRef

ImageReference = Annotated[
    str, text(r"^\S+$", "image must be an image reference without spaces", most=512)
]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
GpuResource = Annotated[
    str,
    text(
        r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
        "gpuResource must be an extended resource such as nvidia.com/gpu or amd.com/gpu",
        most=253,
    ),
]
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]


class ResourceList(Model):
    """Amounts of a pod's resources."""

    cpu: Quantity | None = None
    """Cores: `2`, `"0.5"` or `500m`."""
    memory: Quantity | None = None
    """Bytes, for example `4Gi`."""
    gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    """Accelerators, of the kind podTemplate.gpuResource names."""
    ephemeral_storage: Quantity | None = None
    """Scratch space in bytes."""


def _within_limit(resource: str) -> dict[str, JsonValue]:
    """Return the rule that a pod asks for no more of a resource than it may use."""
    request, limit = f"self.requests.{resource}", f"self.limits.{resource}"
    asked, most = f"string({request})", f"string({limit})"
    return rule(
        f"!has({request}) || !has({limit}) || !isQuantity({asked}) || !isQuantity({most})"
        f" || quantity({asked}).compareTo(quantity({most})) <= 0",
        f"requests.{resource} must not be above limits.{resource}: lower the one or raise the"
        " other",
        at=f".requests.{resource}",
    )


class Resources(Model):
    """What a pod asks for and may use at most."""

    model_config = rules(
        _within_limit("cpu"),
        _within_limit("memory"),
        _within_limit("ephemeralStorage"),
        rule(
            "!has(self.requests.gpu) || !has(self.limits.gpu)"
            " || self.requests.gpu == self.limits.gpu",
            "requests.gpu and limits.gpu must be equal, as accelerators are not shared: leave one"
            " of them out",
            at=".requests.gpu",
        ),
    )

    requests: ResourceList = ResourceList(cpu="500m", memory="1Gi")
    """What the scheduler sets aside."""
    limits: ResourceList = ResourceList(memory="4Gi")
    """What the pod may use at most."""


class Toleration(Model):
    """A taint that the pods accept."""

    model_config = rules(
        rule(
            "self.operator == 'Exists' ? !has(self.value) : has(self.key)",
            "a toleration needs a key with operator Equal, and has no value with operator Exists",
        )
    )

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the key's value is compared."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; every effect by default."""


class EnvironmentVariable(Model):
    """A variable in the environment of a container."""

    model_config = rules(
        rule(
            "has(self.value) != has(self.secretKeyRef)",
            "an environment variable needs exactly one of value and secretKeyRef",
        )
    )

    name: Annotated[
        str,
        text(
            r"^[A-Za-z_][A-Za-z0-9_]*$",
            "the name of an environment variable has letters, digits and '_' and starts with no"
            " digit",
            most=253,
        ),
    ]
    """Its name."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value. Use secretKeyRef for what nobody should read here."""
    secret_key_ref: SecretKeyRef | None = None
    """The key of a Secret that holds its value."""
