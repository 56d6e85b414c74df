"""What the API server has is observed as it is: nothing is guessed, nothing is judged."""

from collections.abc import Mapping
from typing import Any

import pytest
import rollout_bodies as bodies
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.kinds import (
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    ENDPOINT_SLICE,
    GATEWAY,
    HTTP_ROUTE,
    POD,
)
from distill_operator.effects.rollout import arms, artifact, observe, route
from distill_operator.effects.rollout.arms import Arms, Side
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import resolve, traffic
from distill_operator.plan.rollout.model import Arm, ObservedRoute
from distill_operator.plan.rollout.resolve import Given
from distill_operator.render.order import Owner
from rollout_specs import a_spec
from rollouts import BACKENDS, OWNER, SETTINGS


class Asked(Cluster):
    """Answers reads from a table of paths."""

    def __init__(self, answers: dict[str, Manifest] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[str] = []

    async def _call(self, request: Request) -> Manifest:
        from distill_operator import errors

        labels = request.query.get("labelSelector", "")
        self.asked.append(f"{request.verb} {request.path}" + (f" {labels}" if labels else ""))
        found = self.answers.get(request.path)
        if found is None:
            raise errors.Missing(f"{request}: 404")
        return found


def seen_route(body: Manifest, **changes: Any) -> ObservedRoute | None:
    store = Store(bodies.KINDS)
    store.put(HTTP_ROUTE, body)
    store.put(GATEWAY, bodies.a_gateway())
    return route.look(OWNER, a_spec(**changes), store)


def test_our_own_route_is_seen_whole_and_can_be_moved() -> None:
    found = seen_route(bodies.a_route(student=50))

    assert found is not None
    assert (found.owned, found.rule, found.generation, found.parents_wanted) == (True, 0, 3, 1)
    assert [(b.name, b.weight, b.port) for b in found.backends] == [
        (BACKENDS.teacher, 950, 8080),
        (BACKENDS.student, 50, 8080),
    ]
    sight = traffic.look(found, BACKENDS, owns=True)
    assert (sight.share, sight.carried, sight.labelled) == (50, True, True)


def test_a_gateway_that_is_a_generation_behind_carries_nothing_yet() -> None:
    found = seen_route(bodies.a_route(generation=4, seen=3))

    assert found is not None
    assert found.parents[0].observed_generation == 3
    assert (
        traffic.look(found, BACKENDS, owns=True).unready
        == "Gateway edge has not seen the latest change yet"
    )


def test_what_a_gateway_does_not_accept_is_said_in_its_words() -> None:
    body = bodies.a_route()
    body["status"]["parents"][0]["conditions"][1] |= {"status": "False", "message": "no Service"}
    found = seen_route(body)

    assert found is not None
    assert (found.parents[0].accepted, found.parents[0].resolved) == (True, False)
    assert found.parents[0].message == "no Service"


def test_a_parent_that_has_said_nothing_has_not_accepted() -> None:
    body = bodies.a_route()
    body["status"]["parents"][0]["conditions"] = []
    found = seen_route(body)

    assert found is not None
    assert (found.parents[0].accepted, found.parents[0].observed_generation) == (False, 0)


def test_a_parent_that_the_route_names_no_longer_does_not_count() -> None:
    body = bodies.a_route()
    body["spec"]["parentRefs"] = [{"name": "other"}]
    found = seen_route(body)

    assert found is not None
    assert (found.parents, found.parents_wanted) == ((), 1)


def test_a_gateway_that_is_not_programmed_is_seen() -> None:
    store = bodies.a_world()
    store.put(
        GATEWAY, bodies.a_gateway("edge", "False") | {"metadata": bodies.meta("edge", version=9)}
    )
    found = route.look(OWNER, a_spec(), store)

    assert found is not None
    assert (found.parents[0].programmed, found.parents[0].message) == (False, "no address")


@pytest.mark.parametrize(
    ("rules", "named", "place"),
    [
        (["a", "b"], "b", 1),
        (["a", "b"], "c", None),
        (["a"], None, 0),
        (["a", "b"], None, None),
    ],
)
def test_the_rule_of_somebody_elses_route_is_found_by_its_name(
    rules: list[str], named: str | None, place: int | None
) -> None:
    body = bodies.a_route()
    body["metadata"] |= {"ownerReferences": [], "labels": {}}
    body["spec"]["rules"] = [{"name": name, "backendRefs": [{"name": "x"}]} for name in rules]
    given = {"name": OWNER.name} | ({"rule": named} if named else {})
    found = seen_route(body, gateway={"httpRoute": given})

    assert found is not None
    assert (found.rule, found.owned) == (place, False)
    assert [b.weight for b in found.backends] == ([1] if place is not None else [])


def test_a_rule_that_keeps_sessions_is_seen_and_said() -> None:
    body = bodies.a_route(student=50)
    body["spec"]["rules"][0]["sessionPersistence"] = {"type": "Cookie"}
    found = seen_route(body)

    assert found is not None
    assert "has sessionPersistence" in (traffic.look(found, BACKENDS, owns=True).sticky or "")
    assert traffic.edit(found, BACKENDS, 0, owns=True) is not None, "it is still taken back"


def test_no_route_is_none() -> None:
    assert route.look(OWNER, a_spec(), Store(bodies.KINDS)) is None
    assert route.look(OWNER, a_spec(), Store()) is None, "the Gateway API is not installed"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("kubedistill", "12:00:05"), ("kubectl", "12:00:01")], None),
        ([("kubedistill", "12:00:01"), ("kubectl", "12:00:05")], "kubectl"),
        ([("kubedistill", "12:00:01"), ("kubectl", "12:00:01")], "kubectl"),
        ([], None),
    ],
)
def test_the_last_writer_of_the_rules_is_known(
    entries: list[tuple[str, str]], expected: str | None
) -> None:
    fields = {"f:spec": {"f:rules": {}}}
    written = [
        {"manager": who, "time": f"2026-11-25T{at}Z", "fieldsV1": fields} for who, at in entries
    ]
    status = {"manager": "envoy", "time": "2026-11-25T13:00:00Z", "fieldsV1": {"f:status": {}}}
    body = bodies.a_route()
    body["metadata"]["managedFields"] = [*written, status]
    found = seen_route(body)

    assert found is not None
    assert found.weight_writer == expected


async def a_side(arm: Arm, store: Store, asked: Asked | None = None, **changes: Any) -> Side:
    return await Arms(asked or Asked(), store).side(OWNER, a_spec(**changes), arm)


async def test_an_arm_that_we_run_is_seen_from_the_watches_alone() -> None:
    asked = Asked()
    side = await a_side(Arm.STUDENT, bodies.a_world(), asked)
    found = arms.look(side)

    assert asked.asked == []
    assert (found.ready_endpoints, found.service_found) == (2, True)
    assert found.deployment is not None
    deployment = found.deployment
    assert (deployment.wanted, deployment.updated, deployment.ready) == (2, 2, 2)
    assert (deployment.revision, deployment.observed_generation) == ("rev", 4)
    assert [p.name for p in found.pods] == ["minilm-student-0", "minilm-student-1"]
    assert all(pod.ready and pod.revision == "rev" for pod in found.pods)
    assert [t.url for t in arms.targets(side)] == [
        "http://10.0.0.1:8080/metrics",
        "http://10.0.0.2:8080/metrics",
    ]


def test_only_endpoints_that_are_ready_count_and_each_once() -> None:
    four = bodies.a_slice("s", True, False, None, number=4)
    six = bodies.a_slice("s", True, False, None, number=6)

    assert arms.ready([four, six]) == 2
    assert arms.ready([]) == 0


def test_a_crashing_pod_says_how_it_ended() -> None:
    body = bodies.a_pod(
        "student",
        restartCount=4,
        state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    )
    body["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    found = arms.pod(body)

    assert (found.ready, found.restarts) == (False, 4)
    assert found.waiting == ("CrashLoopBackOff", "back-off 40s")
    assert found.ended == ("OOMKilled", 137)


def test_what_a_container_wrote_last_is_seen_of_one_before_the_server_too() -> None:
    body = bodies.a_pod("student", state={"waiting": {"reason": "PodInitializing"}})
    log = "INFO reads\nERROR distill_server: /artifact/models has the content of another\n"
    ended = {"reason": "Error", "exitCode": 78, "message": log}
    first = {"name": "verify-model", "restartCount": 2, "lastState": {"terminated": ended}}
    first["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
    body["status"]["initContainerStatuses"] = [first]
    body["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    found = arms.pod(body)

    assert (found.restarts, found.ended) == (2, ("Error", 78))
    assert found.last_words == "ERROR distill_server: /artifact/models has the content of another"
    first["state"] = {"terminated": {"reason": "Completed", "exitCode": 0}}
    assert arms.pod(body).ended is None, "one that failed once and is done says nothing any more"


async def test_a_pod_that_does_not_run_is_not_asked() -> None:
    store = Store(bodies.KINDS)
    store.put(POD, bodies.a_pod("student", state={"waiting": {"reason": "ImagePullBackOff"}}))
    side = await a_side(Arm.STUDENT, store)

    assert list(arms.targets(side)) == []
    assert arms.look(side).pods[0].waiting == ("ImagePullBackOff", "")


THEIRS = {"service": {"name": "old", "port": 80, "runtime": "VLLM"}}
OLD = f"/api/v1/namespaces/{OWNER.namespace}/services/old"
PODS = f"/api/v1/namespaces/{OWNER.namespace}/pods"


async def test_a_service_of_somebody_else_is_asked_for_with_its_pods() -> None:
    service = {"spec": {"selector": {"app": "old"}, "ports": [{"name": "http", "port": 80}]}}
    pods = {"items": [bodies.a_pod("teacher")], "metadata": {"resourceVersion": "9"}}
    store = Store(bodies.KINDS)
    store.put(ENDPOINT_SLICE, bodies.a_slice("old", True))
    asked = Asked({OLD: service, PODS: pods})

    side = await a_side(Arm.TEACHER, store, asked, teacher=THEIRS)

    assert asked.asked == [f"GET {OLD}", f"GET {PODS} app=old"]
    found = arms.look(side)
    assert (found.service_found, found.ready_endpoints, found.deployment) == (True, 1, None)
    # The port of the pods behind port 80, as the EndpointSlice has it.
    assert [t.url for t in arms.targets(side)] == ["http://10.0.0.1:9000/metrics"]


async def test_a_service_that_does_not_exist_is_no_crash() -> None:
    found = arms.look(await a_side(Arm.TEACHER, Store(bodies.KINDS), teacher=THEIRS))

    assert (found.service_found, found.ready_endpoints) == (False, 0)


def a_job(given: Mapping[str, Any] | None = None, **status: Any) -> Manifest:
    spec = {
        "component": "Embedding",
        "publish": [{"oci": {"repository": "reg.local:5000/minilm", "plainHttp": True}}],
        "teacher": {"model": {"uri": "oci://reg.local:5000/teacher@sha256:" + "b" * 64}},
    } | dict(given or {})
    return {"metadata": bodies.meta("minilm"), "spec": spec, "status": status}


def published(uri: str, *also: str) -> Manifest:
    return {"uri": uri, "digest": "sha256:" + "c" * 64, "also": list(also)}


def test_what_a_job_has_published_is_served_by_its_digest() -> None:
    store = bodies.a_world()
    uri = "oci://reg.local:5000/minilm@sha256:" + "a" * 64
    store.put(DISTILLATION_JOB, a_job(artifact=published("s3://b/x", uri)))
    found = artifact.look(a_spec(), OWNER.namespace, store)

    assert (found.uri, found.digest, found.problem) == (uri, "sha256:" + "a" * 64, None)
    assert found.plain_http
    assert found.teacher_uri == "oci://reg.local:5000/teacher@sha256:" + "b" * 64


def test_a_volumes_copy_has_the_digest_of_its_own_publication() -> None:
    store = bodies.a_world()
    uri, digest = "pvc://models/minilm", "sha256:" + "d" * 64
    told = {"target": 1, "state": "Published", "uri": uri, "digest": digest}
    job = a_job(artifact=published("s3://b/x", uri), publications=[told])
    store.put(DISTILLATION_JOB, job)

    assert artifact.look(a_spec(), OWNER.namespace, store).digest == digest


def test_the_jobs_teacher_is_served_as_the_job_read_it() -> None:
    store = bodies.a_world()
    uri = "oci://reg.local:5000/minilm@sha256:" + "a" * 64
    read = "sha256:" + "e" * 64
    model = {"uri": "oci://reg.local/teacher:v1", "secretRef": {"name": "in"}, "plainHttp": True}
    done = published(uri) | {"lineage": {"teacher": read}}
    store.put(DISTILLATION_JOB, a_job({"teacher": {"model": model}}, artifact=done))
    found = artifact.look(a_spec(), OWNER.namespace, store)
    teacher = resolve.of(Given(OWNER, a_spec(), found, SETTINGS)).teacher

    assert teacher is not None
    assert teacher.model.reference == f"reg.local/teacher@{read}"
    assert (teacher.model.secret, teacher.model.plain_http) == ("in", True)


HUB = {"teacher": {"model": {"uri": "hf://org/big"}}}
SERVED = {"teacher": {"endpoint": {"url": "http://llm", "model": "big"}}}


@pytest.mark.parametrize(
    ("job", "said"), [(HUB, "is hf://org/big, which no pod can mount"), (SERVED, "an endpoint")]
)
def test_a_teacher_that_no_pod_can_serve_is_refused_as_soon_as_the_job_is_known(
    job: Manifest, said: str
) -> None:
    store = bodies.a_world()
    store.put(DISTILLATION_JOB, a_job(job, artifact=published("pvc://models/minilm")))
    found = artifact.look(a_spec(), OWNER.namespace, store)

    assert found.final
    assert said in str(found.problem)
    named = a_spec(teacher={"deployment": {"model": {"uri": "pvc://models/big"}}})
    assert artifact.look(named, OWNER.namespace, store).problem is None
    theirs = a_spec(teacher={"service": {"name": "big", "port": 80}})
    assert artifact.look(theirs, OWNER.namespace, store).problem is None


def test_what_a_jobs_evaluation_found_is_seen() -> None:
    store = bodies.a_world()
    scores = [{"measure": "nDCG@10", "student": "0.61", "teacher": "0.65"}]
    done = published("oci://reg.local:5000/minilm@sha256:" + "a" * 64)
    store.put(DISTILLATION_JOB, a_job(artifact=done, evaluation={"scores": scores}))
    found = artifact.look(a_spec(), OWNER.namespace, store)

    assert (found.job, found.scores) == ("minilm", {"nDCG@10": 0.61})


FAILED = [{"type": "Succeeded", "status": "False", "message": "the data is empty"}]


@pytest.mark.parametrize(
    ("job", "said", "final"),
    [
        (None, "there is no DistillationJob minilm in namespace team-a", False),
        (a_job(), "has not published its student yet", False),
        (a_job(conditions=FAILED), "has failed: the data is empty", True),
        (a_job(artifact=published("s3://b/x")), "which no pod can mount", False),
    ],
)
def test_why_there_is_no_artifact_is_said(job: Manifest | None, said: str, *, final: bool) -> None:
    store = bodies.a_world()
    if job is not None:
        store.put(DISTILLATION_JOB, job)
    found = artifact.look(a_spec(), OWNER.namespace, store)

    assert found.uri is None
    assert said in str(found.problem)
    assert found.final is final


VLLM = {"deployment": {"runtime": "VLLM", "image": "vllm:v1"}}
T5 = {"component": "QueryTransform", "student": {"architecture": "Seq2Seq"}}
TRITON = {"deployment": {"runtime": "Triton", "image": "triton:v1"}}


@pytest.mark.parametrize("status", [{}, {"artifact": published("pvc://models/t5")}])
def test_an_encoder_decoder_is_refused_for_vllm_as_soon_as_its_job_is_known(
    status: dict[str, Any],
) -> None:
    store = bodies.a_world()
    store.put(DISTILLATION_JOB, a_job(T5, **status))
    spec = a_spec(component="QueryTransform", student=VLLM)
    found = artifact.look(spec, OWNER.namespace, store)

    assert found.final
    assert "encoder-decoder" in str(found.problem)
    assert "serve it by a server of your own" in str(found.problem)


def test_triton_serves_what_was_published_with_a_repository() -> None:
    store, spec = bodies.a_world(), a_spec(student=TRITON)
    store.put(DISTILLATION_JOB, a_job(artifact=published("pvc://models/minilm")))
    found = artifact.look(spec, OWNER.namespace, store)
    assert found.final
    assert "publishes no model repository for Triton" in str(found.problem)
    asked, store = {"export": {"tritonRepository": {}}}, bodies.a_world()
    store.put(DISTILLATION_JOB, a_job(asked, artifact=published("pvc://models/minilm")))
    assert artifact.look(spec, OWNER.namespace, store).uri == "pvc://models/minilm"


def test_a_decoder_is_served_by_vllm() -> None:
    store = bodies.a_world()
    causal = T5 | {"student": {"architecture": "Causal"}}
    store.put(DISTILLATION_JOB, a_job(causal, artifact=published("pvc://models/small")))
    by_vllm = a_spec(component="QueryTransform", student=VLLM)
    assert artifact.look(by_vllm, OWNER.namespace, store).problem is None


def test_the_student_of_another_component_is_refused() -> None:
    store = bodies.a_world()
    store.put(DISTILLATION_JOB, a_job(artifact=published("pvc://models/minilm")))
    found = artifact.look(a_spec(component="Generator", student=VLLM), OWNER.namespace, store)

    assert found.final
    assert "makes a student of component Embedding" in str(found.problem)


def test_a_rollout_is_read_and_a_bad_one_says_where_it_is_wrong() -> None:
    good = observe.rollout(bodies.a_rollout())
    bad = observe.rollout(bodies.a_rollout(teacher={"deployment": {"replicas": "many"}}))

    assert good.spec is not None
    assert (good.namespace, good.name, good.uid, good.deleting) == (*_place(OWNER), False)
    assert bad.spec is None
    assert str(bad.spec_error).startswith("spec.teacher.deployment.replicas: ")


def _place(owner: Owner) -> tuple[str, str, str]:
    return owner.namespace, owner.name, owner.uid


def test_others_on_the_same_rule_are_seen() -> None:
    store = bodies.a_world()
    shared = {"httpRoute": {"name": OWNER.name}}
    for name, gateway in (
        ("same", shared),
        ("rule", {"httpRoute": {"name": OWNER.name, "rule": "other"}}),
        ("route", {"httpRoute": {"name": "another"}}),
    ):
        store.put(DISTILLED_ROLLOUT, bodies.a_rollout(Owner("team-a", name, name), gateway=gateway))
    store.put(DISTILLED_ROLLOUT, bodies.a_rollout(Owner("team-b", "far", "far"), gateway=shared))

    assert [o.name for o in observe.others(bodies.a_rollout(), store)] == ["same"]


AGAINST_LAST = [
    {"name": "rank", "quality": {"baseline": "PreviousStudent", "previousRef": {"name": "last"}}}
]
LAST: dict[str, Any] = {
    "phase": "Completed",
    "metrics": [
        {"name": "mrr", "verdict": "Healthy", "message": "fine", "critical": True}
        | {"student": {"count": 200, "estimate": "0.99", "score": "0.6"}},
        {"name": "errors", "verdict": "Healthy", "message": "fine", "critical": True}
        | {"student": {"count": 200, "events": 0}},
    ],
}


@pytest.mark.parametrize(
    ("status", "promoted", "scores"),
    [
        (LAST, True, {"RR@10": 0.6}),
        (LAST | {"phase": "RolledBack"}, False, {"RR@10": 0.6}),
        ({"phase": "Promoted"}, True, {}),
        ({}, False, {}),
    ],
)
def test_the_student_of_the_previous_rollout_is_seen_by_its_status(
    status: dict[str, Any], scores: dict[str, float], *, promoted: bool
) -> None:
    mine = bodies.a_rollout(metrics=AGAINST_LAST)
    spec = observe.rollout(mine).spec
    store = bodies.a_world()
    measured = [{"name": "mrr", "quality": {"measure": "RR@10"}}, {"name": "errors", "errors": {}}]
    last = bodies.a_rollout(Owner(OWNER.namespace, "last", "last"), metrics=measured)
    store.put(DISTILLED_ROLLOUT, last | {"status": status})

    assert spec is not None
    found = observe.previous(spec, mine, store)
    assert {name: (s.promoted, s.scores) for name, s in found.items()} == {
        "last": (promoted, scores)
    }


def test_a_rollout_is_not_its_own_previous_one_and_one_elsewhere_is_not_seen() -> None:
    store = bodies.a_world()
    store.put(DISTILLED_ROLLOUT, bodies.a_rollout(Owner("elsewhere", "last", "last")))
    own = [{"name": "rank", "quality": AGAINST_LAST[0]["quality"] | _of(OWNER.name)}]
    for metrics in (AGAINST_LAST, own):
        mine = bodies.a_rollout(metrics=metrics)
        spec = observe.rollout(mine).spec
        assert spec is not None
        assert observe.previous(spec, mine, store) == {}


def _of(name: str) -> dict[str, Any]:
    return {"previousRef": {"name": name}}


def test_the_previous_rollout_wakes_the_one_that_is_compared_with_it() -> None:
    store = bodies.a_world(metrics=AGAINST_LAST)
    elsewhere = {"httpRoute": {"name": "another"}}
    for name, woken in (("last", [OWNER.uid]), ("other", [])):
        body = bodies.a_rollout(Owner(OWNER.namespace, name, name), gateway=elsewhere)
        assert list(observe.concerned(DISTILLED_ROLLOUT, body, store)) == woken


@pytest.mark.parametrize(
    ("kind", "body", "woken"),
    [
        (HTTP_ROUTE, bodies.a_route(), True),
        (HTTP_ROUTE, {"metadata": bodies.meta("else")}, False),
        (ENDPOINT_SLICE, bodies.a_slice(BACKENDS.student, True), True),
        (ENDPOINT_SLICE, bodies.a_slice("else", True), False),
        (DISTILLATION_JOB, a_job(), True),
        (GATEWAY, bodies.a_gateway("any"), True),
        (DISTILLED_ROLLOUT, bodies.a_rollout(), False),
        (POD, bodies.a_pod("student"), False),
    ],
)
def test_a_change_wakes_the_rollouts_that_it_concerns(
    kind: Any, body: Manifest, *, woken: bool
) -> None:
    found = list(observe.concerned(kind, body, bodies.a_world()))
    assert found == ([OWNER.uid] if woken else [])
