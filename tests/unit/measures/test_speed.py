"""Timing in turns."""

from collections.abc import Sequence

import pytest
from distill_trainer.measures import speed


class Clock:
    """Passes by what models take, and by nothing that a busy machine takes."""

    now = 0.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", 0.0)
    monkeypatch.setattr("time.perf_counter", lambda: Clock.now)


class Model:
    """Takes a fixed time for each text, and remembers when it was called."""

    def __init__(self, name: str, seconds: float, calls: list[tuple[str, int]]) -> None:
        self.name, self.seconds, self.calls = name, seconds, calls

    def __call__(self, texts: Sequence[str]) -> None:
        self.calls.append((self.name, len(texts)))
        Clock.now += self.seconds * len(texts)


def run(rounds: int = 3) -> tuple[dict[str, speed.Timings], list[tuple[str, int]], list[int]]:
    calls: list[tuple[str, int]] = []
    told: list[int] = []
    models = {"student": Model("student", 0.002, calls), "teacher": Model("teacher", 0.006, calls)}
    work = speed.Workload(["a"] * 10, [["b"] * 4, ["c"] * 4], rounds)
    found = speed.measure(models, work, lambda done, total: told.append(100 * done // total))
    return found, calls, told


def test_latency_and_pace_are_those_of_the_models():
    found, _, _ = run()
    assert found["student"].percentile(50) == pytest.approx(0.002)
    assert found["teacher"].percentile(50) == pytest.approx(0.006)
    assert found["student"].texts_per_second == pytest.approx(500)
    assert found["teacher"].texts_per_second == pytest.approx(1000 / 6)
    assert len(found["student"].latencies) == 10
    assert len(found["teacher"].rounds) == 3


def test_what_a_model_says_that_it_made_is_what_counts():
    work = speed.Workload(["a"], [["b"] * 4, ["c"] * 4], 2, made=int)
    models = {"brief": lambda _: writes(3, 0.02), "long": lambda _: writes(30, 0.04)}
    found = speed.measure(models, work, lambda _done, _total: None)
    assert found["brief"].texts_per_second == pytest.approx(150)
    assert found["long"].texts_per_second == pytest.approx(750)


def writes(tokens: int, seconds: float) -> int:
    Clock.now += seconds
    return tokens


def test_models_take_turns_and_the_first_changes():
    _, calls, told = run(rounds=1)
    warm_up = 2 * 2 * speed.WARM_UP
    counted = [name for name, _ in calls[warm_up:]]
    assert counted[:4] == ["student", "teacher", "teacher", "student"]
    assert counted.count("student") == counted.count("teacher") == 12
    assert told[-1] == 100


def test_batches_hold_every_text_by_length():
    made = speed.batches(["ccc", "a", "bb", "dddd", "e"], 2)
    assert made == [["a", "e"], ["bb", "ccc"], ["dddd"]]


def test_telling_may_stop_the_measurement():
    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    work = speed.Workload(["a"], [["b"]], 1)
    with pytest.raises(InterruptedError):
        speed.measure({"student": len}, work, stop)
