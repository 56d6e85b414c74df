"""The pods of an arm or of the prober: restricted, with the model mounted by digest."""

from typing import Final

from distill_api import telemetry, wire
from distill_api.pods import Resources
from distill_api.rollout_arms import EnvironmentVariable, ServingPodTemplate

from distill_operator.render import resources, restricted
from distill_operator.render.order import Manifest
from distill_operator.render.rollout.order import Model
from distill_operator.render.rollout.runtimes import MODEL_DIR

SCRATCH_DIR: Final = "/scratch"
DOCKER_DIR: Final = f"{wire.SECRETS_DIR}/pull"
"""Where the init container finds config.json, as Docker's own programs do."""


def spec(template: ServingPodTemplate, container: Manifest, volumes: list[Manifest]) -> Manifest:
    """Return the pod's spec with what the user may choose: nodes, tolerations, pull secrets."""
    found: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted.pod(),
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
        "tolerations": [
            own.model_dump(mode="json", by_alias=True, exclude_none=True)
            for own in template.tolerations
        ],
    }
    found |= _optional(template)
    return found


def _optional(template: ServingPodTemplate) -> Manifest:
    secrets = [{"name": ref.name} for ref in template.image_pull_secrets]
    chosen: dict[str, object] = {
        "nodeSelector": dict(template.node_selector),
        "runtimeClassName": template.runtime_class_name,
        "serviceAccountName": template.service_account_name,
        "priorityClassName": template.priority_class_name,
        "imagePullSecrets": secrets,
    }
    return {name: value for name, value in chosen.items() if value}


def container(name: str, image: str, template: ServingPodTemplate, wanted: Resources) -> Manifest:
    """Return the container without its arguments and probes."""
    own = {
        "HOME": SCRATCH_DIR,
        "TMPDIR": SCRATCH_DIR,
        "HF_HUB_OFFLINE": "1",
        **telemetry.REFUSED,
    }
    # A name may be there once only: what the template says goes before ours.
    named = {name: {"name": name, "value": value} for name, value in own.items()}
    named |= {variable.name: _variable(variable) for variable in template.env}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": template.image_pull_policy,
        "env": list(named.values()),
        "resources": resources.of_container(wanted, template.gpu_resource),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted.container(),
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH_DIR}],
    }


def _variable(own: EnvironmentVariable) -> Manifest:
    if own.secret_key_ref is None:
        return {"name": own.name, "value": own.value or ""}
    key = own.secret_key_ref.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"name": own.name, "valueFrom": {"secretKeyRef": key}}


def volume(model: Model, *, image_volumes: bool) -> list[Manifest]:
    """Return the volumes for the model: none where the server's own image has it.

    An image volume is pulled by the kubelet like any image, and pinned by its digest; without
    image volumes an init container fills an empty one.
    """
    if model.reference is not None and image_volumes:
        source = {"reference": model.reference, "pullPolicy": "IfNotPresent"}
        return [{"name": "model", "image": source}]
    if model.reference is not None:
        return [{"name": "model", "emptyDir": {}}, *_pull_secret(model)]
    if model.claim is not None:
        return [{"name": "model", "persistentVolumeClaim": {"claimName": model.claim}}]
    return []


def _pull_secret(model: Model) -> list[Manifest]:
    """Return the volume with the credentials of the init container: kubelet's do not reach it."""
    if model.secret is None:
        return []
    key = {"key": ".dockerconfigjson", "path": "config.json"}
    secret = {"secretName": model.secret, "optional": True, "defaultMode": 0o440, "items": [key]}
    return [{"name": "pull-secret", "secret": secret}]


def mount(model: Model) -> list[Manifest]:
    """Return where the container finds the model; it never writes there."""
    if model.reference is None and model.claim is None:
        return []
    return [{"name": "model", "mountPath": MODEL_DIR, "readOnly": True}]


def fetcher(model: Model, server: Manifest) -> Manifest:
    """Return the init container that copies the artifact where image volumes are not known.

    It pulls by digest, and so fails where the registry answers with anything else.
    server: the container that serves; its image has the program, its limits are kept.
    """
    assert model.reference is not None
    flags = ["--artifact", f"oci://{model.reference}", "--into", MODEL_DIR]
    shared = ("image", "imagePullPolicy", "resources", "securityContext")
    config = [{"name": "DOCKER_CONFIG", "value": DOCKER_DIR}] if model.secret else []
    login = [{"name": "pull-secret", "mountPath": DOCKER_DIR, "readOnly": True}]
    return {name: server[name] for name in shared} | {
        "env": [*server["env"], *config],
        "name": "fetch-model",
        "command": ["python", "-m", "distill_server.fetch"],
        "args": [*flags, *(["--plain-http"] if model.plain_http else [])],
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH_DIR},
            {"name": "model", "mountPath": MODEL_DIR},
            *(login if model.secret else []),
        ],
    }
