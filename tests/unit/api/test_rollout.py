"""A rollout's spec states the guide's numbers, and its models answer what planners ask."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from distill_api import names
from distill_api.generate import files
from distill_api.rollout import VLLM_BUCKETS, DistilledModelRolloutSpec
from distill_api.rollout_metrics import SLOW_SHARES, Custom, Errors, Latency, Metric, Signal
from distill_api.rollout_schedule import PRESETS, Preset, Schedule, Step
from distill_api.rollout_status import RolloutStatus, Transition
from pydantic import ValidationError

HOUR, DAY = 3600, 86_400
MINIMAL: dict[str, Any] = {
    "component": "Embedding",
    "artifact": {"jobRef": {"name": "minilm-small"}},
    "teacher": {"deployment": {}},
    "student": {"deployment": {}},
    "gateway": {"route": {"parentRefs": [{"name": "public"}]}},
}


def _spec(**changes: Any) -> DistilledModelRolloutSpec:
    return DistilledModelRolloutSpec.model_validate({**MINIMAL, **changes})


def test_the_defaults_are_the_guides_numbers() -> None:
    spec = _spec()
    errors, latency = (metric.kind for metric in spec.metrics)
    assert isinstance(errors, Errors)
    assert isinstance(latency, Latency)
    assert (errors.fine, errors.limit) == (0.005, 0.01)
    assert (latency.quantile, latency.limit_milliseconds) == ("P95", 150)
    assert (spec.evidence.alpha, spec.evidence.beta) == (0.01, 0.05)
    assert spec.teacher_retention.seconds == 48 * HOUR
    assert spec.teacher_retention.weight_per_mille == 1
    assert (spec.policies.no_data, spec.policies.undecided) == ("Hold", "Hold")
    assert spec.policies.no_data_after_seconds == 30 * 60


def test_the_twenty_four_hours_reach_100_percent_after_a_day() -> None:
    steps = PRESETS[Preset.TWENTY_FOUR_HOURS]
    begins = [0]
    for step in steps[:-1]:
        begins.append(begins[-1] + step.min_soak_seconds)
    assert [(s.weight, at // HOUR) for s, at in zip(steps, begins, strict=True)] == [
        (5, 0),
        (10, 2),
        (25, 6),
        (50, 12),
        (100, 24),
    ]


def test_the_thirty_days_take_thirty_days() -> None:
    steps = PRESETS[Preset.THIRTY_DAYS]
    assert sum(step.min_soak_seconds for step in steps) == 30 * DAY
    assert min(step.min_soak_seconds for step in steps) == DAY  # the guide: 24+ hours at each %


@pytest.mark.parametrize("preset", Preset)
def test_a_preset_obeys_the_rules_of_ones_own_steps(preset: Preset) -> None:
    steps = PRESETS[preset]
    assert all(before.weight < after.weight for before, after in pairwise(steps))
    assert steps[-1].weight == 100


def test_a_schedule_resolves_to_its_steps() -> None:
    own = Schedule(steps=[Step(weight=50, min_soak_seconds=60), Step(weight=100)])
    assert [step.weight for step in own.resolved()] == [50, 100]
    assert [step.weight for step in Schedule(preset=Preset.THIRTY_DAYS).resolved()][-1] == 100


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        (Schedule(steps=[Step(weight=100)], max_soak_seconds=1000), 1000),
        (Schedule(steps=[Step(weight=100, min_soak_seconds=60)]), DAY + 60),
        (Schedule(preset=Preset.THIRTY_DAYS), 17 * DAY),
    ],
    ids=["given", "a day more", "of a preset"],
)
def test_a_step_is_never_undecided_before_its_own_time(schedule: Schedule, seconds: int) -> None:
    assert schedule.longest_soak() == seconds


def test_a_metric_without_a_kind_says_what_was_expected() -> None:
    with pytest.raises(ValueError, match="metric nothing measures nothing: expected one of errors"):
        _ = Metric(name="nothing").kind


def test_slow_shares_can_be_told_apart() -> None:
    assert all(0 < shares.fine < shares.limit < 1 for shares in SLOW_SHARES.values())
    assert {quantile: round(1 - shares.limit, 3) for quantile, shares in SLOW_SHARES.items()} == {
        "P50": 0.5,
        "P90": 0.9,
        "P95": 0.95,
        "P99": 0.99,
    }


@pytest.mark.parametrize("signal", Signal)
def test_the_buckets_of_vllm_rise_and_have_no_150_milliseconds_for_whole_answers(
    signal: Signal,
) -> None:
    bounds = VLLM_BUCKETS[signal]
    assert all(before < after for before, after in pairwise(bounds))
    assert (150 in bounds) is (signal is Signal.TIME_PER_OUTPUT_TOKEN)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"evidence": {"alpha": 0}}, "evidence.alpha"),
        ({"evidence": {"alpha": 0.5}}, "evidence.alpha"),
        ({"schedule": {"steps": [{"weight": 0}]}}, "schedule.steps.0.weight"),
        ({"schedule": {"steps": [{"weight": 101}]}}, "schedule.steps.0.weight"),
        ({"promote": "0"}, "promote"),
        ({"promote": "full"}, "promote"),
        ({"artifact": {"uri": "oci://r/m", "digest": "sha256:short"}}, "artifact.digest"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=["alpha 0", "alpha 0.5", "step 0", "step 101", "promote 0", "full", "digest", "unknown"],
)
def test_what_the_api_server_refuses_the_models_refuse(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        _spec(**changes)
    assert place in [".".join(map(str, error["loc"])) for error in refusal.value.errors()]


def test_a_custom_metric_states_its_own_rates() -> None:
    with pytest.raises(ValidationError, match="limit"):
        Custom.model_validate({"events": "a", "requests": "b", "fine": 0.1})


def test_a_transition_says_from_and_to_in_json() -> None:
    told = Transition.model_validate(
        {
            "id": 3,
            "from": "Progressing",
            "to": "RollingBack",
            "at": "2026-11-25T12:00:00Z",
            "reason": "MetricRegressed",
            "message": "errors: 9 of 200 requests of the student failed.",
        }
    )
    assert told.model_dump(by_alias=True)["from"] == "Progressing"
    assert Transition(**told.model_dump()) == told


def test_a_status_keeps_the_operators_record_as_it_is() -> None:
    """To the last bit, with what is absent: the tests go on from it after a restart."""
    record = {"memory": {"clocks": {"soak": 0.1 + 0.2, "looked": None}}, "squares": 2**60}
    status = RolloutStatus.model_validate({"record": record})
    assert status.model_dump(mode="json", by_alias=True, exclude_none=True)["record"] == record


def test_a_status_that_was_written_once_is_still_read_and_written_alike() -> None:
    golden = json.loads((files.ROOT / "tests/contract/golden/rollout-status.json").read_text())
    parsed = RolloutStatus.model_validate(golden)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True) == golden


EXAMPLES = sorted((files.ROOT / "examples" / "rollout").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_is_read_by_the_models(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    (ours,) = (d for d in documents if d["kind"] == names.ROLLOUT_KIND)
    spec = DistilledModelRolloutSpec.model_validate(ours["spec"])
    assert spec.schedule.resolved()[-1].weight == 100
    assert any(metric.critical for metric in spec.metrics)


def test_there_is_an_example_for_each_way_in() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "minimal",
        "uri-and-digest",
        "existing-services",
        "existing-route",
        "gitops",
        "thirty-days",
    }
