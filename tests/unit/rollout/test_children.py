"""What is made of an order: restricted pods, the model by digest, one rule with two backends."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_arms import Runtime
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import resolve, wanted
from distill_operator.plan.rollout.model import ObservedArtifact, Settings
from distill_operator.plan.rollout.resolve import Given
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.rollout import arm as arms
from distill_operator.render.rollout import prober
from distill_operator.render.rollout import route as routes
from rollout_specs import ARTIFACT, DIGEST, a_spec
from rollouts import OWNER, SETTINGS

PROBER = {"queries": {"uri": "pvc://held-out/queries.jsonl", "secretRef": {"name": "keys"}}}
QUALITY = [{"name": "errors", "errors": {}}, {"name": "ndcg", "quality": {}}]


def asked(
    spec: DistilledModelRolloutSpec | None = None,
    artifact: ObservedArtifact = ARTIFACT,
    settings: Settings = SETTINGS,
) -> Wanted:
    return resolve.of(Given(OWNER, spec or a_spec(), artifact, settings))


def student(**deployment: Any) -> Manifest:
    order = asked(a_spec(student={"deployment": deployment})).student
    assert order is not None
    return arms.deployment(order)


def pod(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]
    return found


def test_a_variable_has_one_value_and_the_templates_goes_before_ours():
    own = {"name": "HF_HUB_OFFLINE", "value": "0"}
    (container,) = pod(student(podTemplate={"env": [own]}))["containers"]
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names)), "the API server refuses a name that is there twice"
    assert own in container["env"]
    assert {"name": "ORT_DISABLE_TELEMETRY", "value": "1"} in container["env"]


def every_pod() -> list[Manifest]:
    found = asked(a_spec(prober=PROBER, metrics=QUALITY))
    assert found.teacher is not None
    assert found.student is not None
    assert found.prober is not None
    old = asked(settings=Settings("server", "prober", image_volumes=False)).student
    assert old is not None
    orders = (found.teacher, found.student, old)
    return [*(pod(arms.deployment(o)) for o in orders), pod(prober.deployment(found.prober))]


def test_every_pod_is_restricted():
    pods = every_pod()
    assert len(pods) == 4
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_model_is_an_image_volume_pinned_by_digest():
    volumes = pod(student())["volumes"]
    assert {"reference": f"registry.local/minilm@{DIGEST}", "pullPolicy": "IfNotPresent"} in [
        volume.get("image") for volume in volumes
    ]
    container = pod(student())["containers"][0]
    assert {"name": "model", "mountPath": "/artifact", "readOnly": True} in container[
        "volumeMounts"
    ]
    words = container["args"]
    assert words[words.index("--model") + 1] == "/artifact/models"
    assert words[words.index("--latency-limits-ms") + 1] == "150"


def test_an_older_cluster_copies_the_model_by_the_same_digest():
    order = asked(settings=Settings("server", "prober", image_volumes=False)).student
    assert order is not None
    spec = pod(arms.deployment(order))
    assert {"name": "model", "emptyDir": {}} in spec["volumes"]
    first = spec["initContainers"][0]
    assert f"oci://registry.local/minilm@{DIGEST}" in first["args"]


ON_A_CLAIM = ObservedArtifact("pvc://models/minilm", DIGEST, teacher_uri=ARTIFACT.teacher_uri)


@pytest.mark.parametrize("runtime", ["OnnxRuntime", "VLLM"])
def test_a_model_on_a_claim_is_held_against_its_digest_before_it_serves(runtime: str):
    order = asked(artifact=ON_A_CLAIM).student
    assert order is not None
    asking = order.deployment.model_copy(update={"runtime": Runtime(runtime)})
    ours = None if runtime == "OnnxRuntime" else "server"
    spec = pod(arms.deployment(replace(order, deployment=asking, fetch_image=ours)))
    (first,) = spec["initContainers"]
    assert first["command"] == ["python", "-m", "distill_server.verify"]
    assert first["args"] == ["--folder", "/artifact/minilm", "--digest", DIGEST]
    assert {"name": "model", "mountPath": "/artifact", "readOnly": True} in first["volumeMounts"]
    assert first["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert first["image"] == (ours or order.image)
    assert first["resources"] == spec["containers"][0]["resources"]


def test_another_digest_in_the_same_folder_is_another_student():
    other = ObservedArtifact(ON_A_CLAIM.uri, "sha256:" + "b" * 64, teacher_uri=ARTIFACT.teacher_uri)
    assert asked(artifact=other).revision != asked(artifact=ON_A_CLAIM).revision


URIS: list[tuple[str, str | None, dict[str, Any]]] = [
    ("oci://host:5000/a/b:tag", DIGEST, {"reference": f"host:5000/a/b@{DIGEST}"}),
    ("oci://host:5000/a/b", DIGEST, {"reference": f"host:5000/a/b@{DIGEST}"}),
    (f"oci://host/b@{DIGEST}", DIGEST, {"reference": f"host/b@{DIGEST}"}),
    (f"oci://host/b@{DIGEST}", None, {"reference": f"host/b@{DIGEST}"}),
    ("pvc://models/minilm/v2/", None, {"claim": "models", "path": "minilm/v2"}),
]


@pytest.mark.parametrize(("uri", "digest", "expected"), URIS, ids=[case[0] for case in URIS])
def test_where_a_model_is(uri: str, digest: str | None, expected: dict[str, Any]):
    found = resolve.model(uri, digest)
    assert {name: getattr(found, name) for name in expected} == expected


def test_replicas_are_left_to_an_autoscaler_where_none_are_named():
    assert "replicas" not in student()["spec"]
    assert student(replicas=3)["spec"]["replicas"] == 3


def test_nodes_are_emptied_one_pod_of_an_arm_at_a_time():
    order = asked().student
    assert order is not None
    spec = arms.budget(order)["spec"]
    assert spec["maxUnavailable"] == 1
    made = arms.deployment(order)["spec"]["template"]
    selector = spec["selector"]["matchLabels"]
    assert selector.items() <= made["metadata"]["labels"].items()
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    (apart,) = made["spec"]["topologySpreadConstraints"]
    assert apart["labelSelector"]["matchLabels"] == selector
    assert (apart["topologyKey"], apart["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )


REVISIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("more replicas", {"replicas": 5}, False),
    ("what was the default anyway", {"runtime": "OnnxRuntime"}, False),
    ("another runtime", {"runtime": "Torch"}, True),
    ("another image", {"image": "mine"}, True),
    ("more arguments", {"args": ["--threads", "2"]}, True),
]


@pytest.mark.parametrize(("why", "change", "anew"), REVISIONS, ids=[case[0] for case in REVISIONS])
def test_what_makes_another_student(*, why: str, change: dict[str, Any], anew: bool):
    before, after = (asked(a_spec(student={"deployment": d})) for d in ({}, change))
    assert (before.revision != after.revision) is anew, why
    assert wanted.revision(before.teacher) == wanted.revision(after.teacher)


def test_an_upgrade_of_the_operator_makes_no_other_student():
    newer = asked(settings=Settings("server:v2", "prober:v2"))
    assert newer.revision == asked().revision


def test_another_digest_is_another_student():
    other = ObservedArtifact(ARTIFACT.uri, "sha256:" + "b" * 64, teacher_uri=ARTIFACT.teacher_uri)
    assert asked(artifact=other).revision != asked().revision


def test_the_route_begins_with_everything_for_the_teacher():
    order = asked().route
    assert order is not None
    spec = routes.manifest(order)["spec"]
    backends = spec["rules"][0]["backendRefs"]
    assert [(b["name"], b["port"], b["weight"]) for b in backends] == [
        ("minilm-teacher", 8080, 1000),
        ("minilm-student", 8080, 0),
    ]
    headers = [b["filters"][0]["requestHeaderModifier"]["set"][0] for b in backends]
    assert [h["value"] for h in headers] == ["teacher", "student"]
    assert spec["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
    ]


def test_services_select_their_arm_at_every_revision():
    found = asked()
    assert found.student is not None
    service = arms.service(found.student)
    selector = service["spec"]["selector"]
    labels = arms.deployment(found.student)["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert "kubedistill.io/revision" not in selector


def test_the_prober_is_told_where_its_queries_are():
    found = asked(a_spec(prober=PROBER, metrics=QUALITY)).prober
    assert found is not None
    spec = pod(prober.deployment(found))
    container = spec["containers"][0]
    assert "--measure" in container["args"]
    assert "ndcg=nDCG@10" in container["args"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts["queries"].endswith("/held-out")
    assert mounts["secret"].endswith("/keys")


MIRRORED = [
    {"name": "ndcg", "quality": {}},
    {"name": "agreement", "quality": {"source": "Mirrored", "measure": "RR@10"}},
]


def test_users_requests_are_copied_to_the_prober_whichever_arm_answers_them():
    found = asked(a_spec(prober={**PROBER, "mirror": {"percent": 10}}, metrics=MIRRORED))
    assert found.prober is not None
    assert found.route is not None
    (rule,) = routes.manifest(found.route)["spec"]["rules"]
    (copied,) = rule["filters"]
    service = prober.service(found.prober)
    assert copied == {
        "type": "RequestMirror",
        "requestMirror": {
            "backendRef": {
                "group": "",
                "kind": "Service",
                "name": service["metadata"]["name"],
                "port": service["spec"]["ports"][0]["port"],
            },
            "percent": 10,
        },
    }
    labels = prober.deployment(found.prober)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    words = pod(prober.deployment(found.prober))["containers"][0]["args"]
    pairs = list(itertools.pairwise(words))
    assert ("--measure", "ndcg=nDCG@10") in pairs
    assert ("--mirrored-measure", "agreement=RR@10") in pairs


def test_nothing_is_copied_that_nobody_asked_for():
    found = asked(a_spec(prober=PROBER, metrics=QUALITY))
    assert found.route is not None
    (rule,) = routes.manifest(found.route)["spec"]["rules"]
    assert "filters" not in rule


def test_a_service_of_somebody_else_is_left_alone():
    spec = a_spec(teacher={"service": {"name": "big", "port": 9000}})
    found = asked(spec)
    assert found.teacher is None
    assert found.backends.teacher == "big"
    assert found.route is not None
    assert found.route.teacher.port == 9000


def writes(settings: Settings = SETTINGS, **deployment: Any) -> Manifest:
    """Return the pod of a generator's student."""
    vllm = {"runtime": "VLLM", "image": "vllm:v1"}
    order = asked(
        a_spec(
            component="Generator",
            metrics=[{"name": "errors", "errors": {}}],
            teacher={"deployment": {**vllm, "model": {"uri": "pvc://models/teacher"}}},
            student={"deployment": {**vllm, **deployment}},
        ),
        settings=settings,
    ).student
    assert order is not None
    return pod(arms.deployment(order))


def variables(spec: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in spec["containers"][0]["env"]}


def test_vllm_has_shared_memory_and_writes_only_into_scratch():
    spec = writes()
    memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    assert memory in spec["volumes"]
    mounts = {one["mountPath"]: one["name"] for one in spec["containers"][0]["volumeMounts"]}
    assert mounts["/dev/shm"] == "shared-memory"  # noqa: S108 - in the pod
    told = variables(spec)
    assert told["HOME"] == told["TMPDIR"] == "/scratch"
    assert told["VLLM_NO_USAGE_STATS"] == told["HF_HUB_OFFLINE"] == "1"
    assert told["DISTILL_MODEL_DIGEST"] == DIGEST
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_size_of_shared_memory_is_the_users():
    assert writes(sharedMemory="8Gi")["volumes"][-1]["emptyDir"]["sizeLimit"] == "8Gi"
    assert not [v for v in pod(student())["volumes"] if v["name"] == "shared-memory"]


def test_vllm_goes_on_serving_before_it_is_told_to_stop():
    spec = writes(drainSeconds=7, podTemplate={"terminationGracePeriodSeconds": 40})
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert variables(spec)["DISTILL_SHUTDOWN_SECONDS"] == "28"
    assert "lifecycle" not in pod(student())["containers"][0]
    assert "lifecycle" not in writes(drainSeconds=0)["containers"][0]


def test_a_long_answer_of_vllm_has_time_to_end_when_its_pod_goes():
    spec = writes()
    assert spec["terminationGracePeriodSeconds"] == 120
    assert variables(spec)["DISTILL_SHUTDOWN_SECONDS"] == "95"
    assert pod(student())["terminationGracePeriodSeconds"] == 60


def test_a_users_variable_takes_the_place_of_the_runtimes_own():
    spec = writes(podTemplate={"env": [{"name": "USER", "value": "me"}]})
    names = [one["name"] for one in spec["containers"][0]["env"]]
    assert names.count("USER") == 1
    assert variables(spec)["USER"] == "me"


ADAPTERS = [
    {"name": "law", "model": {"uri": f"oci://r/law@{DIGEST}", "secretRef": {"name": "login"}}},
    {"name": "tax", "model": {"uri": "pvc://models/tax/v2"}},
]


def test_adapters_are_mounted_as_the_model_is_and_named_to_vllm():
    spec = writes(loraAdapters=ADAPTERS)
    words = spec["containers"][0]["args"]
    assert words[words.index("--enable-lora") + 1 :] == [
        *("--lora-modules", "law=/adapters/0/models", "tax=/adapters/1/tax/v2")
    ]
    mounts = {one["mountPath"]: one["name"] for one in spec["containers"][0]["volumeMounts"]}
    assert (mounts["/adapters/0"], mounts["/adapters/1"]) == ("adapter-0", "adapter-1")
    claims = {v["name"]: v.get("persistentVolumeClaim") for v in spec["volumes"]}
    assert claims["adapter-1"] == {"claimName": "models"}
    assert spec["imagePullSecrets"] == [{"name": "login"}]


def test_an_older_cluster_copies_model_and_adapters_by_our_own_image():
    spec = writes(Settings("server", "prober", image_volumes=False), loraAdapters=ADAPTERS)
    first, second = spec["initContainers"]
    assert (first["name"], second["name"]) == ("fetch-model", "fetch-adapter-0")
    assert first["image"] == second["image"] == "server"
    login = {"name": "pull-secret-adapter-0", "mountPath": "/secrets/pull", "readOnly": True}
    assert [m["name"] for m in second["volumeMounts"]] == ["scratch", "adapter-0", login["name"]]
    assert {v["name"] for v in spec["volumes"]} >= {"adapter-0", login["name"]}


def test_a_generators_prober_is_told_what_is_served_and_how_to_ask():
    found = asked(
        a_spec(
            component="Generator",
            metrics=[{"name": "f1", "quality": {"measure": "TokenF1"}}],
            teacher={"service": {"name": "old", "port": 8000, "runtime": "VLLM"}},
            student={"deployment": {"runtime": "VLLM", "image": "vllm:v1"}},
            prober=PROBER | {"generation": {"maxTokens": 32}},
        )
    )
    assert found.prober is not None
    words = pod(prober.deployment(found.prober))["containers"][0]["args"]
    told = dict(itertools.batched(words, 2))
    assert told["--component"] == "Generator"
    assert told["--models"] == f"old-{wanted.revision(found.student)}"
    assert '"maxTokens":32' in told["--generation"]
    assert told["--measure"] == "f1=TokenF1"
