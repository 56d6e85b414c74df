"""The development cluster's add-ons: a gateway splits traffic, Prometheus finds what is counted."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from devcluster import Cluster, busybox, gateways, traffic
from devcluster.gateways import Gateway
from devcluster.kubectl import manifest
from distill_api.rollout_route import OwnedRoute
from distill_operator.render.order import Owner
from distill_operator.render.rollout import route
from distill_operator.render.rollout.order import Backend, RouteOrder
from namespaces import Namespace
from operators import eventually

ARMS: Final = ("teacher", "student")
PORT: Final = 8080
METRIC: Final = "devcluster_test_answers_total"
HELD: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD: Final = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def raised() -> Cluster:
    """Return the cluster with both add-ons, whatever it was raised with."""
    cluster = Cluster.attach_or_up(addons={"gateway", "prometheus", "registry"})
    if not (cluster.gateway_class and cluster.prometheus):
        pytest.skip("the cluster of KUBECONFIG names no gateway and no Prometheus to test")
    return cluster


@pytest.fixture(scope="module")
def here(raised: Cluster, shared_space: str) -> Namespace:
    """Return a namespace with two arms that answer with their own names."""
    space = Namespace(raised, shared_space)
    for arm in ARMS:
        space("apply", "-f", "-", stdin=manifest(_pod(arm), _service(arm)))
    space("wait", "--for=condition=Ready", *(f"pod/{arm}" for arm in ARMS), "--timeout=90s")
    return space


@pytest.fixture(scope="module")
def edge(here: Namespace) -> Gateway:
    """Return a Gateway to both arms, by a route as the operator writes it."""
    gateway = gateways.make(here.cluster, here.name)
    here("apply", "-f", "-", stdin=manifest(_route(gateway.name)))
    eventually(lambda: httpx.get(gateway.url).is_success, "the route is in force", within=30)
    return gateway


@pytest.fixture
def split(here: Namespace, edge: Gateway) -> Iterator[traffic.Request]:
    """Yield a request while nine of ten go to the teacher."""
    _weigh(here, 900, 100)
    _settles(edge, student=True)
    yield traffic.Request(f"{edge.url}/")
    _weigh(here, 1000, 0)


def _pod(arm: str) -> dict[str, Any]:
    pages = f"echo {arm} >/pages/index.html; echo '{METRIC} 42' >/pages/counters.txt"
    container = {
        "name": "main",
        "image": busybox.REFERENCE,
        "command": ["/bin/sh", "-c", f"{pages}; exec busybox httpd -f -p {PORT} -h /pages"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "securityContext": HELD,
        "volumeMounts": [{"name": "pages", "mountPath": "/pages"}],
    }
    notes = {"scrape": "true", "port": str(PORT), "path": "/counters.txt"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": arm,
            "labels": {"arm": arm},
            "annotations": {f"prometheus.io/{name}": value for name, value in notes.items()},
        },
        "spec": {
            "containers": [container],
            "securityContext": POD,
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "pages", "emptyDir": {}}],
        },
    }


def _service(arm: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": arm},
        "spec": {"selector": {"arm": arm}, "ports": [{"port": 80, "targetPort": PORT}]},
    }


def _route(gateway: str) -> dict[str, Any]:
    spec = OwnedRoute.model_validate({"parentRefs": [{"name": gateway}]})
    teacher, student = (Backend(arm, arm, 80) for arm in ARMS)
    made = route.manifest(RouteOrder(Owner("n", "mini", "u"), "mini", spec, teacher, student))
    # No rollout of that uid exists: with its reference the route would be collected at once.
    kept = {"name": made["metadata"]["name"], "labels": made["metadata"].get("labels", {})}
    return {**made, "metadata": kept}


def _weigh(here: Namespace, teacher: int, student: int) -> None:
    """Change both weights as the operator does, by one guarded patch."""
    place = "/spec/rules/0/backendRefs"
    steps = [
        *({"op": "test", "path": f"{place}/{i}/name", "value": a} for i, a in enumerate(ARMS)),
        {"op": "replace", "path": f"{place}/0/weight", "value": teacher},
        {"op": "replace", "path": f"{place}/1/weight", "value": student},
    ]
    here("patch", "httproute", "mini", "--type=json", "--patch", json.dumps(steps))


def _answers(edge: Gateway, count: int) -> Counter[str]:
    with httpx.Client(base_url=edge.url) as client:
        return Counter(client.get("/").text.strip() for _ in range(count))


def _settles(edge: Gateway, *, student: bool) -> float:
    """Wait until the student is asked, or no longer; return how many seconds that took."""
    began = time.monotonic()
    told = f"the student is {'' if student else 'no longer '}asked"
    eventually(lambda: bool(_answers(edge, 100)["student"]) == student, told, within=30, every=0.05)
    return time.monotonic() - began


def _counts(edge: Gateway, family: str) -> dict[str, float]:
    """Return a family of Envoy's counters by cluster."""
    line = re.compile(rf'^{family}{{.*envoy_cluster_name="([^"]+)".*}} (\S+)$', re.MULTILINE)
    (page,) = edge.stats
    return {name: float(value) for name, value in line.findall(httpx.get(page).text)}


def test_a_thousand_requests_are_split_by_the_weights(
    edge: Gateway, split: traffic.Request
) -> None:
    answers = _answers(edge, 1000)
    assert answers["teacher"] + answers["student"] == answers.total() == 1000
    # Envoy draws for each request: five standard deviations of 1,000 draws at 10 %.
    assert abs(answers["student"] - 100) <= 47


def test_pods_reach_the_gateway_where_the_host_does(here: Namespace, edge: Gateway) -> None:
    said = here("exec", "teacher", "--", "wget", "-qO-", f"{edge.url}/")
    assert said.strip() in ARMS


def test_weights_change_under_load_without_a_lost_request(
    here: Namespace, edge: Gateway, split: traffic.Request
) -> None:
    with traffic.flowing([split], per_second=150) as flow:
        # Never 0 on either side: Envoy Gateway takes such a backend away altogether, and answers
        # for it with an error until both ends of Envoy's configuration have arrived again.
        for student in (500, 1, 999, 250, 1):
            _weigh(here, 1000 - student, student)
            time.sleep(2)
    assert len(flow.outcomes) > 1000
    assert [outcome for outcome in flow.outcomes if not outcome.good] == []


def test_a_student_at_weight_0_is_asked_no_more_within_two_seconds(
    here: Namespace, edge: Gateway, split: traffic.Request
) -> None:
    _weigh(here, 1000, 0)
    assert _settles(edge, student=False) < 2


def test_envoy_counts_each_arm_apart_with_a_bound_at_150_ms(
    here: Namespace, edge: Gateway, split: traffic.Request
) -> None:
    clusters = [f"httproute/{here.name}/mini/rule/0/backend/{index}" for index in (0, 1)]
    before = _counts(edge, "envoy_cluster_upstream_rq_total")
    answers = _answers(edge, 400)
    after = _counts(edge, "envoy_cluster_upstream_rq_total")
    told = [after[name] - before.get(name, 0) for name in clusters]
    assert told == [answers["teacher"], answers["student"]]
    (page,) = edge.stats
    bounds = re.findall(r'upstream_rq_time_bucket{.*le="([^"]+)"', httpx.get(page).text)
    assert "150" in bounds


def test_prometheus_finds_what_pods_and_proxies_count(
    raised: Cluster, here: Namespace, split: traffic.Request
) -> None:
    """While traffic is split: a proxy forgets a backend of weight 0, and its counters with it."""
    assert httpx.get(split.url).is_success

    def ask(query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{raised.prometheus}/api/v1/query", params={"query": query})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found

    pods = f'{METRIC}{{namespace="{here.name}"}}'
    eventually(lambda: len(ask(pods)) == len(ARMS), "both pods are scraped", within=120)
    found = {entry["metric"]["pod"]: entry["value"][1] for entry in ask(pods)}
    assert found == dict.fromkeys(ARMS, "42")
    assert {entry["metric"]["arm"] for entry in ask(pods)} == set(ARMS)
    proxies = f'envoy_cluster_upstream_rq_total{{envoy_cluster_name=~".*{here.name}.*"}}'
    eventually(lambda: len(ask(proxies)) == len(ARMS), "the proxy is scraped", within=120)
    assert here("exec", "teacher", "--", "wget", "-qO-", f"{raised.prometheus}/-/ready")


def test_raising_again_leaves_alone_what_runs(raised: Cluster, edge: Gateway) -> None:
    if raised.paths is None:
        pytest.skip("KUBECONFIG names a foreign cluster, which is never raised")
    proxies = Namespace(raised, "envoy-gateway-system")
    before = {pod["metadata"]["uid"] for pod in proxies.get("pods")["items"]}
    Cluster.attach_or_up(addons={"gateway"})
    assert before == {pod["metadata"]["uid"] for pod in proxies.get("pods")["items"]}
    assert len(before) >= 2
