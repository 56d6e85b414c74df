"""Progress is told, but never at the stage's expense."""

import json
import threading
import time
from pathlib import Path

import pytest
from distill_api.wire import Progress as Push
from distill_trainer import progress
from distill_trainer.progress import HttpSender, Progress
from http_faults import Answer, serving


def test_the_estimate_follows_the_pace():
    assert progress.estimate(30, 100, began=0, now=15, first=0) == 35
    assert progress.estimate(60, 100, began=10, now=20, first=40) == 20


def test_without_a_pace_nothing_is_estimated():
    assert progress.estimate(40, 100, began=0, now=50, first=40) is None
    assert progress.estimate(0, 0, began=0, now=50, first=0) is None


def test_a_push_stays_within_the_contract():
    many = {f"metric{n}" * 20: 1.23456789 for n in range(100)}
    told = progress.status(progress.percentage(150, 100), 3, many)
    assert told.progress_percentage == 100
    assert told.metrics is not None
    assert len(told.metrics) == 64
    assert told.metrics[0].value == "1.23457"


def test_telling_never_waits_for_a_slow_operator():
    release = threading.Event()
    sent: list[Push] = []

    def slow(push: Push) -> None:
        sent.append(push)
        release.wait(10)

    told = Progress(slow)
    start = time.monotonic()
    for step in range(1000):
        told.tell(step, 1000, {"step": step})
    assert time.monotonic() - start < 2
    release.set()
    told.close()
    assert sent[-1].trainer_status.metrics is not None
    assert sent[-1].trainer_status.metrics[0].value == "999"
    assert len(sent) <= 3


def test_an_operator_that_fails_does_not_fail_the_stage():
    asked: list[Push] = []

    def broken(push: Push) -> None:
        asked.append(push)
        raise RuntimeError("no operator")

    told = Progress(broken)
    told.tell(1, 2)
    told.close()
    assert {push.trainer_status.progress_percentage for push in asked} == {50}


def test_a_push_carries_the_token_in_kubeflows_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A busy machine needs long to import the HTTP client.
    monkeypatch.setattr(progress, "LAST_PUSH_TIMEOUT", 60.0)
    (tmp_path / "token").write_text("t0ken\n")
    with serving(lambda _: Answer()) as server:
        told = Progress(HttpSender(f"{server.url}/status", None, tmp_path / "token"))
        told.tell(1, 4, {"loss": 0.5})
        told.close()
    call = server.calls[-1]
    assert (call.method, call.path) == ("POST", "/status")
    assert call.headers["Authorization"] == "Bearer t0ken"
    body = json.loads(call.body)["trainerStatus"]
    assert body["progressPercentage"] == 25
    assert body["metrics"] == [{"name": "loss", "value": "0.5"}]
    Push.model_validate_json(call.body)


def test_the_log_tells_what_how_far_and_how_long(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    told = Progress()
    told.tell(1, 2, {"texts": 1}, "label")
    assert caplog.messages == ["label 50% texts=1"]


def test_a_download_is_told_but_is_not_the_stages_progress(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    sent: list[Push] = []
    told = Progress(sent.append)
    told.mention({"megabytes": 90.1, "ofMegabytes": 90.1}, "fetch teacher")
    told.close()
    assert [push.trainer_status.progress_percentage for push in sent] == [None]
    assert caplog.messages == ["fetch teacher megabytes=90.1 ofMegabytes=90.1"]
