"""The pod of a stage: restricted, frozen, told everything by files."""

from distill_api import telemetry, wire
from distill_api.names import Annotation, Stage
from distill_api.pods import Toleration

from distill_operator.render import gang, labels, needs, resources, restricted, sidecar, volumes
from distill_operator.render.order import Manifest, Order

CONTAINER = "trainer"
GRACE_SECONDS = 60
"""Time for a checkpoint after SIGTERM."""
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def template(order: Order) -> Manifest:
    """Return the pod template of a stage's Job."""
    return {
        "metadata": {
            "labels": dict(order.spec.pod_template.labels) | labels.of_order(order),
            "annotations": _annotations(order),
        },
        "spec": _spec(order),
    }


def _annotations(order: Order) -> dict[str, str]:
    found = {
        Annotation.TASK.value: order.task.model_dump_json(by_alias=True, exclude_none=True),
        Annotation.JOB_NAME.value: order.owner.name,
    }
    if order.around.progress_ca:
        found[Annotation.PROGRESS_CA.value] = order.around.progress_ca
    return found


def _spec(order: Order) -> Manifest:
    template = order.spec.pod_template
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": restricted.pod(),
        "tolerations": _tolerations(order),
        "containers": [_container(order)],
        "volumes": [volume.manifest() for volume in volumes.of_stage(order)],
    }
    if order.stage is Stage.ENGINE:
        spec["initContainers"] = [_handing_over(order), _engine(order)]
    if (asked := sidecar.wanted(order)) is not None:
        spec["initContainers"] = [_handing_over(order), sidecar.container(order, asked)]
        spec["volumes"] += sidecar.extra_volumes(asked)
    spec |= resources.node_choice(template) | gang.of_pod(order)
    if template.service_account_name:
        spec["serviceAccountName"] = template.service_account_name
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": ref.name} for ref in template.image_pull_secrets]
    if order.spec.priority_class_name:
        spec["priorityClassName"] = order.spec.priority_class_name
    return spec


def _container(order: Order) -> Manifest:
    return {
        "name": CONTAINER,
        "image": order.spec.pod_template.image or order.around.image,
        "imagePullPolicy": order.spec.pod_template.image_pull_policy,
        "env": [{"name": name, "value": value} for name, value in _environment(order).items()],
        "resources": resources.manifest(order.spec, order.stage),
        "volumeMounts": [volume.mount() for volume in volumes.of_stage(order)],
        "terminationMessagePath": wire.REPORT_FILE,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted.container(),
    }


def _handing_over(order: Order) -> Manifest:
    """Return what lays out another container's work in the scratch folder, and reports nothing."""
    quiet = {"terminationMessagePath", "terminationMessagePolicy"}
    same = {name: value for name, value in _container(order).items() if name not in quiet}
    return same | {"name": "hand-over", "args": ["--hand-over"]}


def _engine(order: Order) -> Manifest:
    """Return what builds an engine, in TensorRT's own image.

    It sees the scratch folder and nothing else: no Secret, no workspace, no token.
    """
    asked = order.spec.export.tensor_rt if order.spec.export is not None else None
    assert asked is not None, "the stage is only asked for where the spec has it"
    wanted = resources.manifest(order.spec, order.stage)
    gpus = {order.spec.pod_template.gpu_resource: str(asked.gpus)}
    folder = f"{wire.SCRATCH_DIR}/{wire.ENGINE_FOLDER}"
    return {
        "name": "engine",
        "image": asked.image,
        "imagePullPolicy": order.spec.pod_template.image_pull_policy,
        "command": ["python3", f"{folder}/{wire.ENGINE_PROGRAM}", folder],
        "env": [{"name": "HOME", "value": wire.SCRATCH_DIR}],
        "resources": wanted | {"limits": wanted["limits"] | gpus},
        "volumeMounts": [
            volume.mount() for volume in volumes.of_stage(order) if volume.path == wire.SCRATCH_DIR
        ],
        "securityContext": restricted.container(),
    }


def _environment(order: Order) -> dict[str, str]:
    threads = str(order.task.threads)
    found = {
        "HOME": wire.SCRATCH_DIR,
        "TMPDIR": wire.SCRATCH_DIR,
        "HF_HOME": f"{wire.SCRATCH_DIR}/huggingface",
        # Every library that makes a pool of threads, so that sums have one order.
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        # Threads that wait for each other sleep instead of spinning: on a shared node spinning
        # burns the share of the processor that the awaited thread needs (seen: 30 times slower).
        "OMP_WAIT_POLICY": "PASSIVE",
        **telemetry.REFUSED,
    }
    if not needs.hub(order.spec, order.stage):
        found |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return found | gang.environment(order) | _progress(order)


def _progress(order: Order) -> dict[str, str]:
    if order.around.progress_url is None:
        return {}
    found = {
        wire.ENV_PROGRESS_URL: order.around.progress_url,
        wire.ENV_PROGRESS_TOKEN: wire.TOKEN_FILE,
    }
    if order.around.progress_ca:
        found[wire.ENV_PROGRESS_CA] = wire.PROGRESS_CA_FILE
    return found


def _tolerations(order: Order) -> list[Manifest]:
    # A lost node gives its pods up after our time, not after Kubernetes' five minutes.
    seconds = int(order.around.lost_node_tolerance.total_seconds())
    lost = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in _NODE_TAINTS
    ]
    return lost + [_toleration(own) for own in order.spec.pod_template.tolerations]


def _toleration(own: Toleration) -> Manifest:
    return own.model_dump(mode="json", by_alias=True, exclude_none=True)
