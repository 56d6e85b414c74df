"""What the operator and the server say to each other about an arm."""

from distill_api.rollout_arms import Runtime as Wanted
from distill_api.rollout_arms import ServingDeployment
from distill_operator.render.order import Owner
from distill_operator.render.rollout import runtimes
from distill_operator.render.rollout.order import ArmOrder, Model
from distill_server.settings import Runtime, Settings
from distill_server.telemetry import boundaries
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
