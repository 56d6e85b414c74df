"""The environment is read once, and every value that cannot be used is explained."""

import pytest
from distill_operator import errors, settings

LEAST = {"KUBEDISTILL_TRAINER_IMAGE": "registry.example/trainer@sha256:0"}


def test_little_is_needed() -> None:
    found = settings.read(LEAST | {"POD_NAMESPACE": "tools"})

    assert found.progress_url == "https://kubedistill-progress.tools.svc:8443/v1/progress"
    assert found.watch_namespaces == ()
    assert (found.lease_seconds, found.workers, found.pod_ip) == (15, 8, None)


def test_the_trainer_image_is_needed() -> None:
    with pytest.raises(errors.BadSettings, match="KUBEDISTILL_TRAINER_IMAGE is not set"):
        settings.read({})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LISTEN_METRICS", "http", "a whole number from 0 to 65535"),
        ("LISTEN_METRICS", "70000", "a whole number from 0 to 65535"),
        ("RESYNC_SECONDS", "often", "a number of seconds from 10 to 86400"),
        ("LOG_LEVEL", "chatty", "one of DEBUG, INFO, WARNING, ERROR"),
        ("IMAGE_VOLUMES", "perhaps", "one of AUTO, ON, OFF"),
        ("WATCH_NAMESPACES", "a, B!", "names of namespaces with commas"),
        ("PROGRESS_URL", "http://x/", "an https:// URL, or off"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(name: str, value: str, sentence: str) -> None:
    with pytest.raises(errors.BadSettings) as caught:
        settings.read(LEAST | {f"KUBEDISTILL_{name}": value})

    assert f"KUBEDISTILL_{name} is {value!r}: expected {sentence}" in str(caught.value)


def test_every_complaint_is_told_at_once() -> None:
    with pytest.raises(errors.BadSettings, match=r"TRAINER_IMAGE.*; .*WORKERS.*; .*LOG_LEVEL"):
        settings.read({"KUBEDISTILL_WORKERS": "0", "KUBEDISTILL_LOG_LEVEL": "x"})


def test_progress_can_be_switched_off_and_namespaces_listed() -> None:
    more = {"KUBEDISTILL_PROGRESS_URL": "off", "KUBEDISTILL_WATCH_NAMESPACES": "a, b,"}

    found = settings.read(LEAST | more)

    assert found.progress_url is None
    assert found.watch_namespaces == ("a", "b")


def test_the_variables_that_kubernetes_makes_of_services_are_not_taken_for_ours() -> None:
    links = {
        "KUBEDISTILL_PROGRESS_PORT": "tcp://10.96.0.9:8443",
        "KUBEDISTILL_PROGRESS_SERVICE_PORT": "8443",
        "KUBEDISTILL_METRICS_PORT": "tcp://10.96.0.8:8080",
    }

    assert settings.read(LEAST | links) == settings.read(LEAST)
