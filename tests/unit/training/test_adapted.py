"""Adapters in the train stage of every component: trained, merged, kept, resumed bit for bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_api.names import Stage
from distill_trainer.errors import TryAgain
from safetensors.numpy import load_file
from stage_jobs import Job, generating_job, ranking_job


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Job]:
    """Return a job in a folder of its own whose data is labelled and prepared; made once each."""
    made: dict[str, Job] = {}

    def job(name: str, folder: Path) -> Job:
        if name not in made:
            make = {"Reranker": ranking_job, "Generator": generating_job}[name]
            first = make(tmp_path_factory.mktemp(name))
            for stage in (Stage.LABEL, Stage.PREPARE):
                first.run(stage)
            made[name] = first
        own = Job(folder, Path("nowhere"))
        shutil.copytree(made[name].root / "workspace", folder / "workspace")
        own.spec = dict(made[name].spec)
        return own

    return job


CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("Reranker", "BiEncoder", {}),
    ("Reranker", "LateInteraction", {"quantizedBase": True}),
    ("Reranker", "CrossEncoder", {}),
    ("Reranker", "CrossEncoder", {"quantizedBase": True, "mergeInto": "Dequantized"}),
    ("Generator", None, {}),
    ("Generator", None, {"quantizedBase": True, "targetModules": ["q_proj", "down_proj"]}),
]


def _named(case: object) -> str:
    return "-".join(map(str, case.values())) or "lora" if isinstance(case, dict) else str(case)


@pytest.mark.parametrize(("component", "architecture", "lora"), CASES, ids=_named)
def test_adapters_are_merged_the_better_way_and_an_eviction_changes_nothing(
    prepared: Callable[[str, Path], Job],
    tmp_path: Path,
    component: str,
    architecture: str | None,
    lora: dict[str, Any],
):
    jobs = [prepared(component, tmp_path / name) for name in ("whole", "evicted")]
    for job in jobs:
        job.spec["training"] = {
            "maxSteps": 4,
            "batchSize": 16,
            "checkpointSteps": 2,
            "optimizer": {"learningRate": 0.01},
            "lora": {"rank": 4, "dropout": 0.1, **lora},
        }
        if architecture is not None:
            job.spec["student"] = {**job.spec["student"], "architecture": architecture}
    report, _ = jobs[0].run(Stage.TRAIN)
    with pytest.raises(TryAgain):
        jobs[1].run(Stage.TRAIN, at=3)
    jobs[1].run(Stage.TRAIN)
    whole, resumed = (_weights(job) for job in jobs)
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert all(weights.dtype == np.float32 for weights in whole.values())
    assert not any("lora" in name or "absmax" in name for name in whole)
    _check_merge(report.facts, lora)
    adapter = load_file(jobs[0].output(Stage.TRAIN) / "adapter" / "adapter_model.safetensors")
    assert any(bool(np.any(weights)) for name, weights in adapter.items() if "lora_B" in name)


def _check_merge(facts: dict[str, str], lora: dict[str, Any]) -> None:
    asked = lora.get("mergeInto", "Better")
    both = {"original", "dequantized"} if lora.get("quantizedBase") else {"original"}
    measured = both if asked == "Better" else {asked.lower()}
    found = {base for base in ("original", "dequantized") if f"{base}BaseValidation" in facts}
    assert found == measured
    best = max(measured, key=lambda base: float(facts[f"{base}BaseValidation"]))
    assert facts[f"{facts['mergedInto']}BaseValidation"] == facts[f"{best}BaseValidation"]


def _weights(job: Job) -> dict[str, np.ndarray]:
    files = sorted((job.output(Stage.TRAIN) / "student").rglob("*.safetensors"))
    assert files
    return {f"{n}.{k}": w for n, f in enumerate(files) for k, w in load_file(f).items()}


def test_the_classifier_of_a_cross_encoder_learns_beside_its_adapters(
    prepared: Callable[[str, Path], Job], tmp_path: Path
):
    job = prepared("Reranker", tmp_path / "job")
    job.spec["student"] = {"fromTeacher": {"keepLayers": [0]}, "architecture": "CrossEncoder"}
    job.spec["training"] = {"maxSteps": 2, "batchSize": 16, "lora": {"rank": 2}}
    report, _ = job.run(Stage.TRAIN)
    teacher = load_file(Path(job.spec["teacher"]["model"]["uri"][7:]) / "model.safetensors")
    student = _weights(job)
    assert not np.array_equal(student["0.classifier.weight"], teacher["classifier.weight"])
    frozen = [name for name in student if "intermediate" in name]
    assert frozen
    assert all(np.array_equal(student[name], teacher[name.removeprefix("0.")]) for name in frozen)
    # Two adapted layers of 32 x 2 in and out, one row of 32 and its offset.
    assert report.facts["trainedParameters"] == str(2 * 2 * 2 * 32 + 33)
