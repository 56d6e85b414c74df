"""Each example of a component, shortened, from its labels to its evaluation."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import yaml
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from stage_jobs import STAGES, Job, generating_job, ranking_job
from trainer import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
TAUGHT: dict[str, Any] = {"maxSteps": 4, "batchSize": 16, "checkpointSteps": 2}
TEACHER = ("sampling",)
"""What an example says of its teacher that is part of the method."""
QUANTIZED: dict[str, Any] = {"maxLoss": 1.0, "groupSize": 16, "calibrationRecords": 16}
"""Of so few queries a single one is a loss above the gate, and tiny layers have few inputs."""
DATA = ("filter", "hardNegatives", "candidates", "balanceByDifficulty", "productionSample")


def _embedding_job(root: Path) -> Job:
    tiny_models.teacher().save(str(root / "teacher"))
    return Job(root / "job", root / "teacher", student={"fromTeacher": {"keepLayers": [0, 2]}})


KINDS = {
    "embedding": _embedding_job,
    "reranker": ranking_job,
    "generator": generating_job,
}
FOLDERS = (*KINDS, "quantize", "export")
ELSEWHERE = {"seq2seq-int8"}
"""Of query transforms, whose examples test_querytransform_stages and test_quantize_seq2seq run."""
EXAMPLES = sorted(
    path
    for kind in FOLDERS
    for path in (ROOT / "examples" / kind).glob("*.yaml")
    if path.stem not in ELSEWHERE
)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Job]:
    """Return a component's job; its examples share teacher, data and what is the same of both."""
    return cache(lambda kind: KINDS[kind](tmp_path_factory.mktemp(kind)))


def shortened(example: Path, job: Job) -> dict[str, Any]:
    """Return a spec with the parts that make the method, small enough for a tiny teacher."""
    spec: dict[str, Any] = yaml.safe_load(example.read_text())["spec"]
    DistillationJobSpec.model_validate(spec)
    data = f"file://{job.root}/data.jsonl"
    training = spec["training"] | TAUGHT
    for name in ("epochs", "validationSteps"):
        training.pop(name, None)
    if "microBatchSize" in training:
        training["microBatchSize"] = 4
    method = {name: value for name, value in spec["data"].items() if name in DATA}
    if "productionSample" in method:
        method["productionSample"] = {"uri": f"file://{_sample(job)}"}
    student = {name: spec["student"][name] for name in ("architecture",) if name in spec["student"]}
    return {
        **job.spec,
        "evaluation": {**job.spec["evaluation"], "throughputBatchSize": 8},
        "teacher": _teacher(spec, job),
        "student": {**job.spec["student"], **student},
        "data": {**method, "source": {"uri": data}},
        "recipe": _recipe(spec["recipe"]),
        "training": training,
        **({"sweep": spec["sweep"] | _few(spec["sweep"])} if "sweep" in spec else {}),
        **({"quantize": spec["quantize"] | QUANTIZED} if "quantize" in spec else {}),
        **({"export": spec["export"]} if "export" in spec else {}),
    }


def _sample(job: Job) -> Path:
    """Write a sample of production that asks what the data asks."""
    rows = [json.loads(line) for line in (job.root / "data.jsonl").read_text().splitlines()]
    return write_jsonl(job.root / "sample.jsonl", [row for row in rows if "query" in row])


def _teacher(spec: dict[str, Any], job: Job) -> dict[str, Any]:
    asked = {name: value for name, value in spec["teacher"].items() if name in TEACHER}
    if "sampling" in asked:
        asked["sampling"] |= {"maxTokens": 8}
    return {"model": job.spec["teacher"]["model"], **asked}


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    losses = next(iter(recipe.values()))
    if cuts := losses.get("matryoshka"):
        cuts["dimensions"] = [32, 16, 8]
    for name in ("hiddenStates", "attentions"):
        if "layerMap" in losses.get(name, {}):
            losses[name]["layerMap"] = [1, 3]
    return recipe


def _few(sweep: dict[str, Any]) -> dict[str, Any]:
    few = [one | {"values": one["values"][:1]} if "values" in one else one
           for one in sweep["parameters"]]  # fmt: skip
    return {"maxTrials": 2, "parameters": [sweep["parameters"][0], *few[1:]]}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_example_s_method_trains_and_is_judged(
    example: Path, jobs: Callable[[str], Job]
) -> None:
    job = jobs(yaml.safe_load(example.read_text())["spec"]["component"].lower())
    spec = shortened(example, job)
    more = {Stage.QUANTIZE: "quantize", Stage.EXPORT: "export"}
    asked = [stage for stage, member in more.items() if member in spec]
    stages = [*STAGES[:3], *asked, *STAGES[3:]]
    reports = {stage: job.run(stage, spec=spec)[0] for stage in stages}
    facts = reports[Stage.TRAIN].facts
    assert facts["steps"] == "4"
    assert ("mergedInto" in facts) is ("lora" in spec["training"])
    evaluation = reports[Stage.EVALUATE].evaluation
    assert evaluation is not None
    assert evaluation.verdict in {"Passed", "Missed"}
    kept = {score.measure: float(score.student) for score in evaluation.scores}
    assert kept.get("nDCG@10", kept.get("Likelihood", 0)) > 0


def test_examples_have_names_of_their_own() -> None:
    names = [yaml.safe_load(path.read_text())["metadata"]["name"] for path in EXAMPLES]
    assert len(set(names)) == len(names) > 20
