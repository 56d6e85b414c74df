"""Names, texts, cost, usage and progress: the small pure functions."""

from datetime import timedelta
from typing import Any

import jobs
import pytest
from distill_api.names import Stage, StageState
from distill_api.outcome import Prices
from distill_api.status import JobStatus, Metric, StageProgress, StageStatus, Usage
from distill_api.wire import TrainerStatus
from distill_operator.plan import columns, cost, naming, progress, text, usage
from distill_operator.plan.model import ObservedProgress
from jobs import NOW, a_job


@pytest.mark.parametrize("name", ["a", "minilm", "a" * 40, "a.b.c", "x" * 253, "a" * 37 + "-b"])
def test_names_fit_a_label_and_are_valid(name: str):
    job = a_job(name).seen.job
    for stage in Stage:
        for attempt in (0, 7, 9999):
            found = naming.stage_job(job, stage, attempt)
            assert len(found) <= 63
            assert found.endswith(f"-{stage.lower()}-0a1b2c3d-{attempt}")
            assert found.replace("-", "").isalnum()
            assert "--" not in found
    assert len(naming.workspace_claim(job)) <= 63


def test_names_differ_by_stage_attempt_and_owner():
    one = a_job("same").seen.job
    other = jobs.replace(one, uid="ffffffff-0000-0000-0000-000000000000")
    names = {
        naming.stage_job(job, stage, attempt)
        for job in (one, other)
        for stage in Stage
        for attempt in range(3)
    }
    assert len(names) == 2 * len(Stage) * 3


DURATIONS = [(0, "0s"), (59, "59s"), (190, "3m10s"), (3600, "1h0m"), (93784, "26h3m"), (-5, "0s")]


@pytest.mark.parametrize(("seconds", "words"), DURATIONS)
def test_durations(seconds: int, words: str):
    assert text.duration(timedelta(seconds=seconds)) == words


NUMBERS = [(0, "0"), (1.5, "1.5"), (100.0, "100"), (0.1 + 0.2, "0.3"), (-0.0000001, "0")]


@pytest.mark.parametrize(("value", "words"), NUMBERS)
def test_numbers(value: float, words: str):
    assert text.number(value) == words


MONEY = [(0.0, "0.00 USD"), (0.123, "0.12 USD"), (0.0031, "0.0031 USD"), (4500.0, "4500.00 USD")]


@pytest.mark.parametrize(("amount", "words"), MONEY)
def test_money(amount: float, words: str):
    assert text.money(amount, "USD") == words


def a_stage(**used: Any) -> StageStatus:
    return StageStatus(name=Stage.TRAIN, state=StageState.COMPLETE, usage=Usage(**used))


def test_cost_is_usage_times_prices():
    stages = [
        a_stage(cpu_seconds="7200", gpu_seconds="1800", teacher_tokens=2_000_000),
        a_stage(cpu_seconds="3600"),
    ]
    prices = Prices(cpu_hour=0.05, gpu_hour=2.0, teacher_million_tokens=3.0)
    found = cost.of_job(stages, prices)
    assert found is not None
    # 3 core hours, half a GPU hour, 2 million tokens: 0.15 + 1 + 6
    assert found.amount == "7.15"
    assert (found.cpu_seconds, found.gpu_seconds, found.teacher_tokens) == (
        "10800",
        "1800",
        2_000_000,
    )
    assert (found.savings_per_day, found.break_even_days) == (None, None)


def test_the_guides_break_even():
    # 4,500 dollars of training; 180 against 9.50 a day at a million requests: 26 days.
    prices = Prices(
        gpu_hour=4500.0,
        teacher_million_requests=180.0,
        student_million_requests=9.5,
        daily_requests=1_000_000,
    )
    found = cost.of_job([a_stage(gpu_seconds="3600")], prices)
    assert found is not None
    assert (found.savings_per_day, found.break_even_days) == ("170.5", "26.39")


def test_a_dearer_student_never_pays_off():
    prices = Prices(
        teacher_million_requests=1.0, student_million_requests=2.0, daily_requests=1_000_000
    )
    found = cost.of_job([a_stage(cpu_seconds="1")], prices)
    assert found is not None
    assert (found.savings_per_day, found.break_even_days) == ("-1", None)


def test_nothing_reported_costs_nothing_known():
    assert cost.of_job([], Prices(cpu_hour=1.0)) is None
    assert cost.of_job([StageStatus(name=Stage.TRAIN, state=StageState.RUNNING)], Prices()) is None


def test_an_amount_without_prices_is_not_shown():
    spent = cost.of_job([a_stage(cpu_seconds="3600")], Prices())
    assert columns.cost(spent, jobs.spec()) is None
    priced = jobs.spec(prices={"cpuHour": 0.12})
    assert columns.cost(cost.of_job([a_stage(cpu_seconds="3600")], priced.prices), priced) == (
        "0.12 USD"
    )


def test_usage_adds_up_over_pods_and_survives_their_end():
    failed = jobs.a_failure(Stage.TRAIN, jobs.Reason.CRASHED, "boom", final=False)
    failed = failed.model_copy(update={"usage": Usage(seconds="5", cpu_seconds="9")})
    world = a_job().with_pod(Stage.TRAIN, phase="Failed", termination_message=jobs.message(failed))
    both = world.done(Stage.TRAIN).seen
    found = usage.of_stage(None, both, Stage.TRAIN)
    assert found == Usage(seconds="15", cpu_seconds="27")
    assert usage.of_stage(found, a_job().seen, Stage.TRAIN) == found
    assert usage.of_stage(None, a_job().seen, Stage.TRAIN) is None


EVERY = timedelta(seconds=5)


def pushed(percent: int | None, *, seconds: float = 0, step: str | None = None) -> ObservedProgress:
    metrics = None if step is None else [Metric(name="checkpointStep", value=step)]
    status = TrainerStatus(
        progress_percentage=percent, estimated_remaining_seconds=190, metrics=metrics
    )
    return ObservedProgress("pod-Train-0-0", NOW + timedelta(seconds=seconds), status)


def test_progress_is_taken_over_at_most_once_in_an_interval():
    first = progress.updated(None, pushed(10), now=NOW, every=EVERY)
    assert first is not None
    soon = NOW + timedelta(seconds=2)
    assert progress.updated(first, pushed(11), now=soon, every=EVERY) == first
    assert progress.due(first, pushed(11), now=soon, every=EVERY) == timedelta(seconds=3)
    then = NOW + EVERY
    second = progress.updated(first, pushed(11), now=then, every=EVERY)
    assert second is not None
    assert (second.percent, second.updated_time) == (11, then)
    assert progress.due(second, pushed(11), now=then, every=EVERY) is None


def test_a_push_that_says_the_same_changes_nothing():
    first = progress.updated(None, pushed(10), now=NOW, every=EVERY)
    later = NOW + timedelta(minutes=1)
    assert progress.updated(first, pushed(10), now=later, every=EVERY) == first


def test_a_push_without_a_share_keeps_the_last_one():
    first = progress.updated(None, pushed(10), now=NOW, every=EVERY)
    found = progress.updated(first, pushed(None, step="5"), now=NOW + EVERY, every=EVERY)
    assert found is not None
    assert found.percent == 10


def test_a_checkpoint_is_what_training_says():
    told = progress.updated(None, pushed(10, step="500"), now=NOW, every=EVERY)
    first = progress.checkpoint(None, told)
    assert first is not None
    assert (first.step, first.time) == (500, NOW)
    later = progress.updated(told, pushed(12, step="500"), now=NOW + EVERY, every=EVERY)
    assert progress.checkpoint(first, later) == first
    assert progress.checkpoint(first, None) == first
    nonsense = progress.updated(None, pushed(10, step="many"), now=NOW, every=EVERY)
    assert progress.checkpoint(first, nonsense) == first


def test_only_the_pod_that_runs_is_believed():
    world = a_job().with_stage_job(Stage.TRAIN).with_pod(Stage.TRAIN)
    world = world.with_progress(Stage.TRAIN, pushed(10))
    sighting = jobs.look(Stage.TRAIN, world)
    assert progress.of_stage(world.seen, Stage.TRAIN, sighting) is not None
    stranger = jobs.replace(pushed(10), pod_uid="another")
    other = world.with_progress(Stage.TRAIN, stranger)
    assert progress.of_stage(other.seen, Stage.TRAIN, sighting) is None


COLUMN = [
    (StageState.RUNNING, 42, 190, "Train 42% (ETA 3m10s)"),
    (StageState.RUNNING, 42, None, "Train 42%"),
    (StageState.RUNNING, None, None, "Train running"),
    (StageState.SUSPENDED, 42, 190, "Train suspended"),
]


@pytest.mark.parametrize(("state", "percent", "left", "words"), COLUMN)
def test_the_progress_column(state: StageState, percent: int | None, left: int | None, words: str):
    told = None
    if percent is not None:
        told = StageProgress(percent=percent, remaining_seconds=left, updated_time=NOW)
    stage = StageStatus(name=Stage.TRAIN, state=state, progress=told)
    assert columns.progress(stage, jobs.Reason.RUNNING) == words


def test_the_progress_column_says_why():
    waiting = StageStatus(name=Stage.TRAIN, state=StageState.PENDING)
    assert columns.progress(waiting, jobs.Reason.UNSCHEDULABLE) == "Train waiting: Unschedulable"
    assert columns.progress(None, jobs.Reason.ACCEPTED) is None


def test_an_empty_status_is_small():
    assert JobStatus().model_dump_json(by_alias=True, exclude_none=True) == (
        '{"observedGeneration":0,"phase":"Pending","conditions":[],"stages":[],'
        '"publications":[],"checklist":[]}'
    )
