"""What operator and trainer say to each other stays readable by both, and fits where it goes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from distill_api import wire
from distill_api.base import Model
from distill_api.generate import files
from distill_api.names import Stage
from distill_api.status import (
    Artifact,
    EvaluationStatus,
    JobStatus,
    Lineage,
    Metric,
    Publication,
    Score,
    Speed,
    Usage,
)
from distill_api.wire import Progress, Report, Task, TrainerStatus
from pydantic import ValidationError

GOLDEN = Path(__file__).parent / "golden"
CASES: list[tuple[str, str, type[Model]]] = [
    ("task-train.json", "task", Task),
    ("report-evaluate.json", "report", Report),
    ("report-label-gave-up.json", "report", Report),
    ("progress.json", "progress", Progress),
]


def _json(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


@pytest.mark.parametrize(("name", "_schema", "model"), CASES, ids=[c[0] for c in CASES])
def test_what_was_written_once_is_still_read_and_written_alike(
    name: str, _schema: str, model: type[Model]
) -> None:
    parsed = model.model_validate(_json(name))
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True) == _json(name)


@pytest.mark.parametrize(("name", "schema", "_model"), CASES, ids=[c[0] for c in CASES])
def test_the_published_json_schema_accepts_it(name: str, schema: str, _model: type[Model]) -> None:
    published = json.loads((files.ROOT / f"docs/reference/wire-{schema}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.Draft202012Validator(published).validate(_json(name))


@pytest.mark.parametrize(("name", "schema", "model"), CASES, ids=[c[0] for c in CASES])
def test_an_unknown_field_is_refused_by_model_and_schema(
    name: str, schema: str, model: type[Model]
) -> None:
    surprising = _json(name) | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        model.model_validate(surprising)
    published = json.loads((files.ROOT / f"docs/reference/wire-{schema}.json").read_text())
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.Draft202012Validator(published).validate(surprising)


def test_a_task_of_another_protocol_is_refused() -> None:
    other = _json("task-train.json") | {"version": "kubedistill.io/wire.v2"}
    with pytest.raises(ValidationError, match="version"):
        Task.model_validate(other)


def test_a_task_states_every_default_of_its_recipe() -> None:
    """The trainer needs no defaults of its own: another version of it does the same."""
    spec = _json("task-train.json")["spec"]
    assert spec["training"]["optimizer"]["learningRate"] == 2e-5
    assert spec["training"]["seed"] == 42
    assert spec["data"]["splits"] == {"train": 80, "validation": 10, "test": 10}


def _speed() -> Speed:
    number = "12345.678901"
    return Speed(
        p50_milliseconds=number,
        p95_milliseconds=number,
        p99_milliseconds=number,
        items_per_second=number,
    )


def _evaluation() -> EvaluationStatus:
    measures = ("R@1", "R@10", "nDCG@10", "AP", "AP@1000", "RR", "RR@10")
    number = "0.987654321"
    scores = [
        Score(
            measure=measure,
            student=number,
            teacher=number,
            retention=number,
            retention_low=number,
            retention_high=number,
        )
        for measure in measures
    ]
    return EvaluationStatus(
        verdict="Missed",
        explanation="x" * 400,
        scores=scores,
        student=_speed(),
        teacher=_speed(),
        speedup="12.345678",
        student_parameters=10**11,
        teacher_parameters=10**12,
        queries=10**9,
        documents=10**9,
    )


def _artifact() -> Artifact:
    digest = "sha256:" + "f" * 64
    place = "oci://registry.example.com:5000/" + "team/" * 20 + f"model@{digest}"
    return Artifact(
        uri=place,
        digest=digest,
        weights_digest=digest,
        size_bytes=10**12,
        media_type="application/vnd.cncf.model.manifest.v1+json",
        formats=["safetensors", "onnx"],
        also=[place, place],
        lineage=_lineage(),
    )


def _publications() -> list[Publication]:
    artifact = _artifact()
    places = (artifact.uri, *artifact.also)
    return [
        Publication(
            target=number,
            state="Published",
            uri=place,
            digest=artifact.digest,
            time=datetime(2026, 1, 5, tzinfo=UTC),
        )
        for number, place in enumerate(places)
    ]


def _lineage() -> Lineage:
    digest = "sha256:" + "f" * 64
    return Lineage(
        teacher="oci://registry.example.com/" + "t" * 100 + "@" + digest,
        data=digest,
        recipe=digest,
        code_version="0.1.0+" + "c" * 40,
        seed=2**31 - 1,
    )


FULL_REPORTS = [
    {"stage": Stage.EVALUATE, "evaluation": _evaluation()},
    {"stage": Stage.PUBLISH, "artifact": _artifact(), "publications": _publications()},
    {"stage": Stage.TRAIN, "lineage": _lineage()},
]


@pytest.mark.parametrize("result", FULL_REPORTS, ids=lambda r: r["stage"])
def test_a_full_report_fits_into_a_termination_message(result: dict[str, Any]) -> None:
    """At the largest that is met in practice, whole: nothing has to be left out of it."""
    report = Report(
        outcome="Done",
        fingerprint="sha256:" + "f" * 64,
        summary="x" * 400,
        usage=Usage(
            seconds="123456.789", cpu_seconds="123456.789", gpu_seconds="9", teacher_tokens=10**9
        ),
        facts={f"aFactOfTheChecklist{i}": "0.987654321" for i in range(8)},
        **result,
    )
    content = report.model_dump_json(by_alias=True, exclude_none=True).encode()
    assert 900 < len(content) <= wire.REPORT_LIMIT


def test_a_status_is_read_as_it_was_written_and_the_golden_one_uses_every_field() -> None:
    """The cluster tests write it to a real API server and expect it back whole."""
    golden = _json("status-succeeded.json")
    status = JobStatus.model_validate(golden)
    assert status.model_fields_set == set(JobStatus.model_fields)
    assert status.model_dump(mode="json", by_alias=True, exclude_none=True) == golden


def test_a_plain_hugging_face_trainers_push_is_understood() -> None:
    """The body that transformers' KubeflowTrainerCallback sends."""
    pushed = {
        "trainerStatus": {
            "progressPercentage": 7,
            "estimatedRemainingSeconds": 12,
            "metrics": [{"name": "loss", "value": "1.25"}],
            "lastUpdatedTime": datetime(2026, 1, 5, tzinfo=UTC).isoformat(),
        }
    }
    status = Progress.model_validate(pushed).trainer_status
    assert isinstance(status, TrainerStatus)
    assert status.metrics == [Metric(name="loss", value="1.25")]
