"""What the operator and the server say to each other about an arm."""

from dataclasses import replace

from distill_api.rollout_arms import Runtime as Wanted
from distill_api.rollout_arms import ServingDeployment
from distill_api.rollout_metrics import Signal
from distill_operator.effects.rollout.page import Page
from distill_operator.effects.rollout.readers import READERS
from distill_operator.render.order import Owner
from distill_operator.render.rollout import arm, pods, runtimes
from distill_operator.render.rollout.order import ArmOrder, Model
from distill_server.api.observing import HANDLERS
from distill_server.settings import Runtime, Settings
from distill_server.telemetry import Telemetry, boundaries
from prometheus_client import generate_latest
from pydantic_settings import CliApp

OURS = (Wanted.ONNX_RUNTIME, Wanted.TORCH)


def _order(runtime: Wanted) -> ArmOrder:
    return ArmOrder(
        owner=Owner("default", "search", "u"),
        arm="student",
        name="search-student",
        revision="r1",
        deployment=ServingDeployment(runtime=runtime, drain_seconds=7),
        image="server",
        model=Model(reference="registry/search@sha256:0"),
        served_name="search",
        replicas=1,
        latency_limits_milliseconds=(120, 150),
    )


def test_the_server_understands_every_flag_of_an_arms_pod():
    for runtime in OURS:
        launch = runtimes.LAUNCHES[runtime]
        settings = CliApp.run(Settings, cli_args=launch.arguments(_order(runtime)))
        assert settings.runtime.value == runtime.value
        assert settings.model.as_posix() == "/artifact/models"
        assert (settings.arm, settings.served_model_name) == ("student", "search")
        assert (settings.port, settings.drain_seconds) == (8080, 7)
        assert {0.12, 0.15} <= set(boundaries(settings.latency_limits_ms))


def test_the_runtimes_of_the_server_are_those_of_the_contract():
    assert {own.value for own in Runtime} == {own.value for own in OURS}


def test_the_operator_counts_users_of_the_server_and_not_the_prober():
    reader = READERS[Wanted.ONNX_RUNTIME]
    telemetry = Telemetry(Settings(latency_limits_ms="120"), HANDLERS)
    for status, seconds in ((200, 0.1), (200, 0.12), (200, 0.13), (400, 0.5), (503, 0.01)):
        telemetry.answered("/v1/embeddings", status, seconds, probe=False)
        telemetry.answered("/v1/embeddings", status, seconds, probe=True)
    telemetry.answered("/v1/rerank", 500, 0.1, probe=False)
    page = Page.parse(generate_latest(telemetry.registry).decode(), reader.families)
    tally = reader.errors(page)
    assert (tally.requests, tally.events) == (6, 2)
    assert page.beyond(reader.latencies[Signal.END_TO_END][0].name, 0.12) == (3, 1)


def test_the_init_container_has_the_pull_secret_where_the_program_looks():
    order = replace(_order(Wanted.TORCH), image_volumes=False)
    order = replace(order, model=replace(order.model, secret="registry-login", plain_http=True))  # noqa: S106 - a name
    spec = arm.deployment(order)["spec"]["template"]["spec"]
    (fetcher,) = spec["initContainers"]
    (secret,) = [v["secret"] for v in spec["volumes"] if v["name"] == "pull-secret"]
    mounts = {mount["name"]: mount["mountPath"] for mount in fetcher["volumeMounts"]}
    env = {entry["name"]: entry.get("value") for entry in fetcher["env"]}
    assert fetcher["command"] == ["python", "-m", "distill_server.fetch"]
    assert fetcher["args"] == [
        *("--artifact", "oci://registry/search@sha256:0", "--into", "/artifact", "--plain-http")
    ]
    assert secret["secretName"] == "registry-login"
    assert secret["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert env["DOCKER_CONFIG"] == mounts["pull-secret"] == pods.DOCKER_DIR
    # The server itself has no use for it.
    assert "pull-secret" not in {m["name"] for m in spec["containers"][0]["volumeMounts"]}
