"""The pods of an arm or of the prober: restricted, with the model mounted by digest."""

from collections.abc import Iterable, Mapping
from typing import Final

from distill_api import telemetry, wire
from distill_api.pods import EnvironmentVariable, Resources
from distill_api.rollout_arms import ServingPodTemplate

from distill_operator.render import resources, restricted
from distill_operator.render.order import Manifest
from distill_operator.render.rollout.order import Model
from distill_operator.render.rollout.runtimes import MODEL_DIR

SCRATCH: Final = "scratch"
"""The volume of caches and temporary files."""
SCRATCH_DIR: Final = "/scratch"
MODEL: Final = "model"
"""The volume of the model."""
DOCKER_DIR: Final = f"{wire.SECRETS_DIR}/pull"
"""Where the init container finds config.json, as Docker's own programs do."""


def spec(
    template: ServingPodTemplate, container: Manifest, volumes: list[Manifest], *, grace: int
) -> Manifest:
    """Return the pod's spec with what the user may choose: nodes, tolerations, pull secrets.

    grace: seconds from when it is taken away until it is killed.
    """
    found: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted.pod(),
        "terminationGracePeriodSeconds": grace,
        "containers": [container],
        "volumes": [{"name": SCRATCH, "emptyDir": {}}, *volumes],
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


def container(
    name: str,
    image: str,
    template: ServingPodTemplate,
    wanted: Resources,
    *,
    scratch: str = SCRATCH,
) -> Manifest:
    """Return the container without its arguments and probes. scratch: the volume it may write."""
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
        "volumeMounts": [{"name": scratch, "mountPath": SCRATCH_DIR}],
    }


def _variable(own: EnvironmentVariable) -> Manifest:
    if own.secret_key_ref is None:
        return {"name": own.name, "value": own.value or ""}
    key = own.secret_key_ref.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"name": own.name, "valueFrom": {"secretKeyRef": key}}


def volume(model: Model, *, image_volumes: bool, name: str = MODEL) -> list[Manifest]:
    """Return the volumes for the model: none where the server's own image has it.

    An image volume is pulled by the kubelet like any image, and pinned by its digest; without
    image volumes an init container fills an empty one.
    """
    if model.reference is not None and image_volumes:
        source = {"reference": model.reference, "pullPolicy": "IfNotPresent"}
        return [{"name": name, "image": source}]
    if model.reference is not None:
        return [{"name": name, "emptyDir": {}}, *_pull_secret(model, name)]
    if model.claim is not None:
        return [{"name": name, "persistentVolumeClaim": {"claimName": model.claim}}]
    return []


def shared_memory(size: str) -> tuple[Manifest, Manifest]:
    """Return volume and mount of /dev/shm: processes of a server exchange tensors there."""
    memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": size}}
    return memory, {"name": "shared-memory", "mountPath": "/dev/shm"}  # noqa: S108 - in the pod


def _login(name: str) -> str:
    """Name the volume with the credentials for another one."""
    return "pull-secret" if name == MODEL else f"pull-secret-{name}"


def _pull_secret(model: Model, name: str) -> list[Manifest]:
    """Return the volume with the credentials of the init container: kubelet's do not reach it."""
    if model.secret is None:
        return []
    key = {"key": ".dockerconfigjson", "path": "config.json"}
    secret = {"secretName": model.secret, "optional": True, "defaultMode": 0o440, "items": [key]}
    return [{"name": _login(name), "secret": secret}]


def mount(model: Model, *, name: str = MODEL, path: str = MODEL_DIR) -> list[Manifest]:
    """Return where the container finds the model; it never writes there."""
    if model.reference is None and model.claim is None:
        return []
    return [{"name": name, "mountPath": path, "readOnly": True}]


def writable(folders: Iterable[str]) -> list[Manifest]:
    """Return where the container finds its scratch space as well."""
    return [{"name": SCRATCH, "mountPath": folder} for folder in folders]


def parts(model: Model, places: Mapping[str, str]) -> list[Manifest]:
    """Return where the container finds folders of the model as well, by the folders."""
    return [
        own | {"mountPath": place, "subPath": part}
        for own in mount(model)
        for part, place in places.items()
    ]


def fetcher(
    model: Model, server: Manifest, image: str | None, *, name: str = MODEL, path: str = MODEL_DIR
) -> Manifest:
    """Return the init container that copies the artifact where image volumes are not known.

    It pulls by digest, and so fails where the registry answers with anything else.
    server: the container that serves; its limits are kept.
    image: that has the program; None: the server's own.
    """
    assert model.reference is not None
    flags = ["--artifact", f"oci://{model.reference}", "--into", path]
    config = [{"name": "DOCKER_CONFIG", "value": DOCKER_DIR}] if model.secret else []
    login = [{"name": _login(name), "mountPath": DOCKER_DIR, "readOnly": True}]
    return _before(server, image) | {
        "env": [*server["env"], *config],
        "name": f"fetch-{name}",
        "command": ["python", "-m", "distill_server.fetch"],
        "args": [*flags, *(["--plain-http"] if model.plain_http else [])],
        "volumeMounts": [
            {"name": SCRATCH, "mountPath": SCRATCH_DIR},
            {"name": name, "mountPath": path},
            *(login if model.secret else []),
        ],
    }


def verifier(model: Model, server: Manifest, image: str | None, *, folder: str) -> Manifest:
    """Return the init container that holds the folder of a claim against its digest.

    Another job may publish to the same folder, and a pod that starts later would serve what nobody
    has asked for. server, image: as of the one that copies. folder: of the model.
    """
    assert model.digest is not None
    return _before(server, image) | {
        "env": server["env"],
        "name": f"verify-{MODEL}",
        "command": ["python", "-m", "distill_server.verify"],
        "args": ["--folder", folder, "--digest", model.digest],
        "volumeMounts": [{"name": SCRATCH, "mountPath": SCRATCH_DIR}, *mount(model)],
    }


def _before(server: Manifest, image: str | None) -> Manifest:
    """Return what containers before the one that serves share with it."""
    shared = ("imagePullPolicy", "resources", "securityContext", "terminationMessagePolicy")
    return {key: server[key] for key in shared} | {"image": image or server["image"]}
