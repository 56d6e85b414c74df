"""The pods of an arm or of the prober: restricted, with the model mounted by digest."""

from distill_api.job import PodTemplate

from distill_operator.render import resources, restricted
from distill_operator.render.order import Manifest
from distill_operator.render.rollout.order import Model
from distill_operator.render.rollout.runtimes import MODEL_DIR

SCRATCH: Manifest = {"name": "scratch", "emptyDir": {}}
SCRATCH_DIR = "/scratch"


def spec(template: PodTemplate, container: Manifest, volumes: list[Manifest]) -> Manifest:
    """Return the pod's spec with what the user may choose: nodes, tolerations, pull secrets."""
    found: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted.pod(),
        "containers": [container],
        "volumes": [SCRATCH, *volumes],
        "tolerations": [
            own.model_dump(mode="json", by_alias=True, exclude_none=True)
            for own in template.tolerations
        ],
    }
    found |= resources.node_choice(template)
    if template.service_account_name:
        found["serviceAccountName"] = template.service_account_name
    if template.image_pull_secrets:
        found["imagePullSecrets"] = [{"name": ref.name} for ref in template.image_pull_secrets]
    return found


def container(name: str, image: str, template: PodTemplate) -> Manifest:
    """Return the container without its arguments and probes."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": template.image_pull_policy,
        "env": [
            {"name": "HOME", "value": SCRATCH_DIR},
            {"name": "TMPDIR", "value": SCRATCH_DIR},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
        ],
        "resources": resources.of_container(template.resources, template.gpu_resource),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted.container(),
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH_DIR}],
    }


def volume(model: Model, *, image_volumes: bool) -> list[Manifest]:
    """Return the volume with the model: none where the server's own image has it.

    An image volume is pulled by the kubelet like any image, and pinned by its digest; without
    image volumes an init container fills an empty one.
    """
    if model.reference is not None and image_volumes:
        source = {"reference": model.reference, "pullPolicy": "IfNotPresent"}
        return [{"name": "model", "image": source}]
    if model.reference is not None:
        return [{"name": "model", "emptyDir": {}}]
    if model.claim is not None:
        return [{"name": "model", "persistentVolumeClaim": {"claimName": model.claim}}]
    return []


def mount(model: Model) -> list[Manifest]:
    """Return where the container finds the model; it never writes there."""
    if model.reference is None and model.claim is None:
        return []
    return [{"name": "model", "mountPath": MODEL_DIR, "readOnly": True}]


def fetcher(model: Model, image: str, template: PodTemplate) -> Manifest:
    """Return the init container that copies the artifact where image volumes are not known.

    It pulls by digest, and so fails where the registry answers with anything else.
    """
    assert model.reference is not None
    found = container("fetch-model", image, template)
    found["command"] = ["python", "-m", "distill_server.fetch"]
    found["args"] = ["--artifact", f"oci://{model.reference}", "--into", MODEL_DIR]
    found["volumeMounts"] = [
        *found["volumeMounts"],
        {"name": "model", "mountPath": MODEL_DIR, "readOnly": False},
    ]
    return found
