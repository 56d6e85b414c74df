"""The pods of one training notice that one of them is gone, and wait for the first one's result."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from distill_api.names import Exit, Reason, Stage
from distill_api.wire import Report
from distill_trainer.distributed import launch, peers
from distill_trainer.distributed.peers import Peers

DONE = Report(stage=Stage.TRAIN, outcome="Done", summary="9 of 9 steps")


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(peers, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(peers, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(launch, "CHECK_SECONDS", 0.02)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free: int = taken.getsockname()[1]
    return free


class Gang:
    """Pods that know each other; the first one starts last, as its name may come late."""

    def __init__(self, port: int) -> None:
        self.port, self.made = port, list[Peers]()

    def __call__(self, pods: int = 3, *, silence: float = 5.0) -> list[Peers]:
        self.made = [Peers(index, "uid/0", silence) for index in range(pods)]
        for one in reversed(self.made):
            one.start("127.0.0.1", self.port)
        eventually(lambda: len(self.made[0]._open) == pods)
        return self.made


@pytest.fixture
def gang(port: int) -> Iterator[Gang]:
    made = Gang(port)
    yield made
    for one in made.made:
        one.finish(well=False)


def eventually(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


def settled(found: Report, known: Peers) -> Report:
    return launch._agreed(found, known, threading.Event(), ended=False)


def test_a_pod_that_did_its_share_stays_until_the_first_one_wrote_the_result(gang: Gang):
    first, second, third = gang()
    assert not second.done.wait(0.3)
    first.finish(well=True)
    for one in (second, third):
        assert settled(DONE, one) == DONE
        assert one.lost is None


def test_when_the_first_pod_is_lost_the_others_shares_are_void(gang: Gang):
    first, second, _ = gang()
    first.finish(well=False)
    told = settled(DONE, second)
    assert told.failure is not None
    assert (told.failure.reason, launch.status(told)) == (Reason.PEER_LOST, Exit.PEER_LOST)
    assert told.failure.message.startswith("Pod 0 of the training was lost")


def test_the_first_pod_names_the_one_that_was_lost(gang: Gang):
    first, second, third = gang()
    third.finish(well=False)
    eventually(lambda: first.lost is not None)
    assert first.lost == "pod 2"
    assert second.lost is None


def test_a_pod_whose_node_vanished_falls_silent(gang: Gang, monkeypatch: pytest.MonkeyPatch):
    first, second = gang(2, silence=0.5)
    time.sleep(1)
    assert first.lost is None
    monkeypatch.setattr(peers, "_send", lambda *_: None)
    eventually(lambda: (first.lost, second.lost) == ("pod 1", "pod 0"))


def test_a_replacement_tells_that_its_predecessor_is_lost_and_waits_for_the_next_gang(gang: Gang):
    first, _, _ = gang()
    replacement = Peers(2, "uid/0").start("127.0.0.1", gang.port)
    gang.made.append(replacement)
    eventually(lambda: first.lost == "pod 2")
    assert not replacement.met.wait(0.2)
    first.finish(well=False)
    again = Peers(0, "uid/0").start("127.0.0.1", gang.port)
    gang.made.append(again)
    assert replacement.met.wait(5)
    assert (again.lost, replacement.lost) == (None, None)


def test_a_stranger_is_not_taken_for_a_pod(gang: Gang):
    first, *_ = gang()
    for greeting in (b"other/0 1\n", b"GET / HTTP/1.1\r\n\r\n", b"uid/0 x\n"):
        with socket.create_connection(("127.0.0.1", gang.port)) as stranger:
            stranger.sendall(greeting)
            assert stranger.recv(1) == b""
    assert first.lost is None
