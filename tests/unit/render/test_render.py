"""Manifests: golden files for the whole, sentences for the parts that must not change.

`UPDATE_GOLDEN=1 pytest tests/unit/render` writes the golden files anew; read the difference.
"""

import os
from pathlib import Path
from typing import Any

import jobs
import pytest
import yaml
from distill_api import wire
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.wire import Task
from distill_operator.plan import job as planning
from distill_operator.plan import stages
from distill_operator.plan.model import Manifest
from distill_operator.render import needs, resources
from jobs import NOW, SETTINGS, World, a_job

GOLDEN = Path(__file__).parent / "golden"

EVERYTHING: dict[str, Any] = {
    "teacher": {"model": {"uri": "pvc://models/teacher", "secretRef": {"name": "teacher-key"}}},
    "student": {"model": {"uri": "hf://organisation/small", "secretRef": {"name": "hub"}}},
    "data": {
        "source": {"uri": "s3://bucket/data", "secretRef": {"name": "s3-keys"}},
        "productionSample": {"uri": "s3://logs/asked", "secretRef": {"name": "log-keys"}},
    },
    "publish": [
        {"oci": {"repository": "registry.example.com/m/x", "secretRef": {"name": "push"}}},
        {"pvc": {"claimName": "models"}},
    ],
    "podTemplate": {
        "image": "registry.example.com/own:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccountName": "trainer",
        "resources": {
            "requests": {"cpu": "1500m", "memory": "2Gi"},
            "limits": {"cpu": "2500m", "memory": "8Gi", "ephemeralStorage": "20Gi"},
        },
        "stageResources": {
            "train": {
                "requests": {"cpu": "4", "memory": "16Gi"},
                "limits": {"memory": "32Gi", "gpu": 1},
            }
        },
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "runtimeClassName": "nvidia",
        "labels": {"team": "search", "kubedistill.io/stage": "no-way"},
    },
    "workspace": {"storageClassName": "fast", "size": "50Gi", "accessMode": "ReadWriteMany"},
    "queueName": "team",
    "priorityClassName": "batch",
    "retries": 1,
    "stageDeadlineSeconds": 3600,
}
BENCHMARK: dict[str, Any] = {
    "component": "Generator",
    "recipe": {"generator": {"outputs": {}}},
    "evaluation": {
        "benchmark": {
            "requestsPerSecond": 2,
            "vllm": {
                "image": "registry.example.com/vllm:1",
                "args": ["--max-model-len", "512"],
                "env": [
                    {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"},
                    {"name": "KEY", "secretKeyRef": {"name": "own", "key": "k"}},
                ],
                "resources": {"limits": {"memory": "16Gi", "gpu": 1}},
                "sharedMemory": "2Gi",
            },
        }
    },
}
CASES: dict[str, tuple[World, Stage]] = {
    "label": (a_job(), Stage.LABEL),
    "train-everything": (a_job(**EVERYTHING), Stage.TRAIN),
    "publish-everything": (a_job(**EVERYTHING), Stage.PUBLISH),
    "evaluate-vllm": (a_job(**(EVERYTHING | BENCHMARK)), Stage.EVALUATE),
    "label-object-store": (
        a_job(workspace={"uri": "s3://bucket/work/", "secretRef": {"name": "keys"}}),
        Stage.LABEL,
    ),
}


def children(world: World, stage: Stage) -> list[Manifest]:
    spec = world.seen.job.spec
    assert spec is not None
    order = stages.wanted(spec)
    before = world.after(*order[: order.index(stage)])
    return list(planning.plan(before.seen, SETTINGS, now=NOW).children)


def the_job(world: World, stage: Stage) -> Manifest:
    return next(c for c in children(world, stage) if c["kind"] == "Job")


def pod(world: World, stage: Stage) -> Manifest:
    found: Manifest = the_job(world, stage)["spec"]["template"]["spec"]
    return found


def container(world: World, stage: Stage) -> Manifest:
    found: Manifest = pod(world, stage)["containers"][0]
    return found


def environment(world: World, stage: Stage) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(world, stage)["env"]}


def mounts(world: World, stage: Stage) -> dict[str, bool]:
    entries = container(world, stage)["volumeMounts"]
    return {entry["mountPath"]: entry["readOnly"] for entry in entries}


@pytest.mark.parametrize("name", CASES)
def test_the_children_are_as_written(name: str):
    found = yaml.safe_dump_all(children(*CASES[name]), sort_keys=True, width=100)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)
    assert list(yaml.safe_load_all(golden.read_text())) == list(yaml.safe_load_all(found))


@pytest.mark.parametrize("stage", [s for s in Stage if s is not Stage.CLEANUP])
def test_every_pod_passes_the_restricted_security_standard(stage: Stage):
    both = {"quantize": {"method": "INT8"}, "export": {"onnx": {}, "tensorRT": {}}}
    world = a_job(**(EVERYTHING | both))
    found, inner = pod(world, stage), container(world, stage)["securityContext"]
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["runAsUser"] == 65532
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert inner["readOnlyRootFilesystem"] is True
    allowed = {"downwardAPI", "emptyDir", "projected", "persistentVolumeClaim", "secret"}
    kinds = {key for volume in found["volumes"] for key in volume if key != "name"}
    assert kinds <= allowed
    assert not {"hostNetwork", "hostPID", "hostIPC"} & found.keys()
    assert found["automountServiceAccountToken"] is False


def test_vllm_runs_beside_the_trainer_and_sees_models_only():
    found = pod(a_job(**(EVERYTHING | BENCHMARK)), Stage.EVALUATE)
    hand_over, vllm = found["initContainers"]
    assert hand_over["args"] == ["--hand-over"]
    assert vllm["restartPolicy"] == "Always", "a sidecar: the Job ends without it"
    places = {mount["mountPath"]: mount.get("readOnly", False) for mount in vllm["volumeMounts"]}
    assert places == {
        "/scratch": False,
        "/dev/shm": False,  # noqa: S108 - in the pod
        wire.SCRATCH_DIR: True,
        wire.WORKSPACE_DIR: True,
        f"{wire.VOLUMES_DIR}/models": True,
    }
    named = {mount["name"] for mount in vllm["volumeMounts"]}
    assert named <= {volume["name"] for volume in found["volumes"]}
    assert vllm["command"][:2] == ["python3", wire.VLLM_PROGRAM]
    assert vllm["securityContext"] == found["containers"][0]["securityContext"]
    assert vllm["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert "nvidia.com/gpu" not in found["containers"][0]["resources"]["limits"]


def test_only_a_benchmark_of_what_writes_has_vllm_beside_it():
    assert "initContainers" not in pod(a_job(**(EVERYTHING | BENCHMARK)), Stage.TRAIN)
    plain = {"evaluation": {"benchmark": {"requestsPerSecond": 2}}}
    assert "initContainers" not in pod(a_job(**(EVERYTHING | plain)), Stage.EVALUATE)


def test_the_task_that_the_pod_reads_is_the_one_it_was_made_for():
    world = a_job(**EVERYTHING)
    annotations = the_job(world, Stage.TRAIN)["spec"]["template"]["metadata"]["annotations"]
    task = Task.model_validate_json(annotations["kubedistill.io/task"])
    assert task.spec == world.seen.job.spec
    assert (task.stage, task.attempt, task.job.uid) == (Stage.TRAIN, 0, jobs.UID)
    assert (task.threads, task.cpus, task.gpus, task.max_attempts) == (4, 4.0, 1, 2)
    assert task.workspace == f"file:///workspace/{jobs.UID}"
    items = pod(world, Stage.TRAIN)["volumes"][0]["downwardAPI"]["items"]
    paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in items}
    assert paths["task.json"] == "metadata.annotations['kubedistill.io/task']"
    assert mounts(world, Stage.TRAIN)[wire.CONFIG_DIR] is True


def test_exit_78_fails_the_job_and_a_lost_node_does_not_count():
    rules = the_job(a_job(), Stage.LABEL)["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob", "Ignore"]
    assert rules[0]["onExitCodes"] == {
        "containerName": container(a_job(), Stage.LABEL)["name"],
        "operator": "In",
        "values": [78],
    }
    assert rules[1]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert pod(a_job(), Stage.LABEL)["restartPolicy"] == "Never"  # the policy needs it
    assert the_job(a_job(), Stage.LABEL)["spec"]["podReplacementPolicy"] == "Failed"


def test_own_labels_never_replace_ours():
    labels = the_job(a_job(**EVERYTHING), Stage.TRAIN)["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "search"
    assert labels["kubedistill.io/stage"] == "Train"


def test_the_token_is_bound_to_the_progress_endpoint():
    volumes = {v["name"]: v for v in pod(a_job(), Stage.LABEL)["volumes"]}
    source = volumes["progress-token"]["projected"]["sources"][0]["serviceAccountToken"]
    assert source == {
        "path": "token",
        "audience": "progress.kubedistill.io",
        "expirationSeconds": 3600,
    }
    found = environment(a_job(), Stage.LABEL)
    assert found[wire.ENV_PROGRESS_TOKEN] == wire.TOKEN_FILE
    assert found[wire.ENV_PROGRESS_CA] == wire.PROGRESS_CA_FILE


def test_without_a_progress_endpoint_there_is_no_token():
    quiet = jobs.replace(SETTINGS, progress_url=None, progress_ca=None)
    plan = planning.plan(a_job().seen, quiet, now=NOW)
    found = plan.children[-1]["spec"]["template"]["spec"]
    assert [v["name"] for v in found["volumes"]] == ["config", "scratch", "workspace", "labels"]
    names = {entry["name"] for entry in found["containers"][0]["env"]}
    assert wire.ENV_PROGRESS_URL not in names


SECRETS: list[tuple[Stage, tuple[str, ...]]] = [
    (Stage.LABEL, ("log-keys", "s3-keys", "teacher-key")),
    # Preparation makes labels again when the shared cache has lost them.
    (Stage.PREPARE, ("log-keys", "s3-keys", "teacher-key")),
    (Stage.TRAIN, ("hub", "teacher-key")),
    (Stage.EVALUATE, ("hub", "teacher-key")),
    (Stage.PUBLISH, ("push",)),
    (Stage.CLEANUP, ()),
]


@pytest.mark.parametrize(("stage", "expected"), SECRETS)
def test_a_pod_mounts_only_the_secrets_of_its_stage(stage: Stage, expected: tuple[str, ...]):
    assert needs.secrets(jobs.spec(**EVERYTHING), stage) == expected


def test_only_the_publish_stage_sees_the_key_that_signs_and_the_hubs_token():
    signed = {"repository": "registry.example.com/m/x", "sign": {"secretRef": {"name": "signer"}}}
    hub = {"repository": "team/small", "secretRef": {"name": "hub-token"}}
    spec = jobs.spec(publish=[{"oci": signed}, {"huggingFace": hub}])
    seen = {stage: set(needs.secrets(spec, stage)) for stage in Stage}
    assert seen.pop(Stage.PUBLISH) == {"hub-token", "signer"}
    assert not set().union(*seen.values()) & {"hub-token", "signer"}
    assert needs.hub(spec, Stage.PUBLISH)


def test_the_label_stage_sees_a_students_tokenizer_where_it_has_to_be_the_teachers():
    def claims(losses: dict[str, Any], stage: Stage) -> dict[str, bool]:
        student = {"model": {"uri": "pvc://small/student"}}
        recipe = {"generator": losses}
        spec = jobs.spec(component="Generator", recipe=recipe, student=student)
        return dict(needs.claims(spec, stage))

    assert claims({"logits": {}}, Stage.LABEL) == {"small": True}
    assert claims({"outputs": {}}, Stage.LABEL) == {}
    assert claims({"outputs": {}}, Stage.TRAIN) == {"small": True}


def test_a_servers_tokenizer_is_fetched_where_its_tokens_are_kept_and_nowhere_else():
    tokenizer = {"uri": "hf://organisation/teacher", "secretRef": {"name": "hub-token"}}
    spec = jobs.spec(
        component="Generator",
        recipe={"generator": {"outputs": {}}},
        teacher={"endpoint": {"url": "http://vllm/v1", "model": "m", "tokenizer": tokenizer}},
        student={"model": {"uri": "oci://registry.example.com/s"}},
    )
    for stage in Stage:
        labels = stage in {Stage.LABEL, Stage.PREPARE}
        assert needs.hub(spec, stage) is labels
        assert needs.secrets(spec, stage) == (("hub-token",) if labels else ())


def test_a_missing_secret_lets_the_pod_start_and_say_so():
    found = [v["secret"] for v in pod(a_job(**EVERYTHING), Stage.LABEL)["volumes"] if "secret" in v]
    assert [(s["secretName"], s["optional"], s["defaultMode"]) for s in found] == [
        ("log-keys", True, 0o440),
        ("s3-keys", True, 0o440),
        ("teacher-key", True, 0o440),
    ]


def test_the_key_of_an_endpoint_is_mounted_where_the_teacher_is_called():
    key = {"name": "vendor", "key": "token"}
    endpoint = {"url": "https://api.example.com/v1", "model": "m", "apiKeySecretRef": key}
    spec = jobs.spec(
        teacher={"endpoint": endpoint}, student={"model": {"uri": "oci://registry.example.com/s"}}
    )
    assert needs.secrets(spec, Stage.LABEL) == ("vendor",)
    assert needs.secrets(spec, Stage.PREPARE) == ("vendor",)
    assert needs.secrets(spec, Stage.PUBLISH) == ()


def test_sources_on_a_claim_are_only_read_and_targets_are_written():
    assert mounts(a_job(**EVERYTHING), Stage.LABEL)["/volumes/models"] is True
    assert mounts(a_job(**EVERYTHING), Stage.PUBLISH)["/volumes/models"] is False


def test_only_label_and_prepare_mount_the_label_cache():
    spec = a_job()
    with_cache = [
        stage for stage in stages.wanted(jobs.spec()) if wire.CACHE_DIR in mounts(spec, stage)
    ]
    assert with_cache == [Stage.LABEL, Stage.PREPARE]


CACHES: list[tuple[str, dict[str, Any], str | None, str | None]] = [
    ("made by default", {}, "kubedistill-labels", "file:///labels"),
    ("your claim", {"labelCache": {"claimName": "mine"}}, "mine", "file:///labels"),
    ("an object store", {"labelCache": {"uri": "s3://b/l"}}, None, "s3://b/l"),
    ("none", {"labelCache": {"disabled": True}}, None, None),
    ("beside an external workspace", {"uri": "s3://b/w"}, None, "s3://b/w/labels"),
]


@pytest.mark.parametrize(("why", "workspace", "claim", "uri"), CACHES, ids=[c[0] for c in CACHES])
def test_where_labels_are_cached(
    why: str, workspace: dict[str, Any], claim: str | None, uri: str | None
):
    world = a_job(workspace=workspace)
    volumes = {v["name"]: v for v in pod(world, Stage.LABEL)["volumes"]}
    mounted = volumes.get("labels", {}).get("persistentVolumeClaim", {}).get("claimName")
    assert mounted == claim
    template = the_job(world, Stage.LABEL)["spec"]["template"]
    task = Task.model_validate_json(template["metadata"]["annotations"]["kubedistill.io/task"])
    assert task.label_cache == uri


def test_the_hub_is_offline_unless_a_uri_names_it():
    assert environment(a_job(), Stage.TRAIN)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(a_job(**EVERYTHING), Stage.TRAIN)
    assert environment(a_job(**EVERYTHING), Stage.LABEL)["HF_HUB_OFFLINE"] == "1"


CORES = [("500m", 1), ("1", 1), ("1500m", 2), ("2.5", 3), ("4", 4), ("64", 64)]


@pytest.mark.parametrize(("cpu", "threads"), CORES)
def test_threads_are_the_cores_rounded_up(cpu: str, threads: int):
    template = {"resources": {"requests": {"cpu": cpu}, "limits": {}}}
    spec: DistillationJobSpec = jobs.spec(podTemplate=template)
    assert resources.threads(spec, Stage.TRAIN) == threads
    found = environment(a_job(podTemplate=template), Stage.TRAIN)
    assert found["OMP_NUM_THREADS"] == str(threads)


def test_a_given_number_of_threads_wins():
    assert resources.threads(jobs.spec(podTemplate={"threads": 3}), Stage.TRAIN) == 3


def test_accelerators_are_limits_of_the_named_resource():
    world = a_job(**EVERYTHING)
    assert container(world, Stage.TRAIN)["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"},
    }
    assert "nvidia.com/gpu" not in container(world, Stage.LABEL)["resources"]["limits"]


def test_an_own_claim_is_used_and_not_made():
    found = children(a_job(workspace={"claimName": "mine"}), Stage.LABEL)
    assert [c["metadata"]["name"] for c in found] == [
        "kubedistill-labels",
        "minilm-label-0a1b2c3d-0",
    ]
    volumes = {v["name"]: v for v in found[-1]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["workspace"]["persistentVolumeClaim"] == {"claimName": "mine"}


def test_the_label_cache_belongs_to_no_job():
    found = next(
        c for c in children(a_job(), Stage.LABEL) if c["metadata"]["name"] == "kubedistill-labels"
    )
    assert "ownerReferences" not in found["metadata"]
    assert "kubedistill.io/job-uid" not in found["metadata"]["labels"]


def test_a_long_name_is_cut_in_labels_and_whole_in_an_annotation():
    found = the_job(a_job("n" * 100), Stage.LABEL)["metadata"]
    assert found["labels"]["kubedistill.io/job"] == "n" * 63
    assert found["annotations"]["kubedistill.io/job-name"] == "n" * 100
    assert len(found["name"]) <= 63


def test_the_longest_task_fits_the_annotations_of_an_object():
    prompt = {
        "sampling": {"systemPrompt": "x" * 16384},
        "model": {"uri": "oci://r.io/" + "u" * 999},
    }
    text = the_job(a_job(teacher=prompt), Stage.LABEL)["spec"]["template"]["metadata"]
    assert len(text["annotations"]["kubedistill.io/task"]) < 200_000
