"""Whole jobs whose pods were given an accelerator: stages use it, and say what a CPU says."""

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generating_jobs
import numpy as np
import pyarrow.parquet as pq
import pytest
import stage_jobs
import tiny_models
import tiny_transforms
import torch
from distill_api.names import Stage
from distill_api.wire import Report
from distill_trainer.errors import TryAgain
from distill_trainer.labelling import asking
from distill_trainer.preparing import lists
from safetensors.numpy import load_file
from stage_jobs import generating_job, ranking_job

Tell = Callable[[str, str], None]
Job = Any
"""Of stage_jobs or generating_jobs."""

QUERIES = 90
COMPONENTS = ("Embedding", "Reranker", "Generator", "QueryTransform")
USING = (Stage.LABEL, Stage.TRAIN, Stage.EVALUATE)
STAGES = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE)


def embedding_job(root: Path) -> Job:
    tiny_models.teacher().save(str(root / "teacher"))
    return stage_jobs.Job(root / "job", root / "teacher")


def transforming_job(root: Path) -> Job:
    rows = tiny_transforms.expansions(QUERIES)
    tiny_transforms.write_data(root / "data.jsonl", rows)
    model = tiny_transforms.encoder_decoder()
    teacher = tiny_transforms.taught_seq2seq(model, rows, tiny_transforms.instructed)
    folder = tiny_transforms.save(teacher, root / "teacher")
    job = generating_jobs.Job(root / "job")
    job.spec = {
        "component": "QueryTransform",
        "teacher": {
            "model": {"uri": f"file://{folder}"},
            "batchSize": 32,
            "sampling": {"temperature": 0.3, "maxTokens": 16, "topLogprobs": 16},
        },
        "student": {"architecture": "Seq2Seq", "fromTeacher": {"keepLayers": [1]}},
        "data": {"source": {"uri": f"file://{root / 'data.jsonl'}"}},
        "recipe": {"queryTransform": {"outputs": {}, "logits": {}, "expansions": 2}},
        "training": {"maxSteps": 8, "batchSize": 16, "checkpointSteps": 3},
        "evaluation": {"latencyRequests": 10, "bootstrapSamples": 100, "gates": []},
        "publish": [{"pvc": {"claimName": "models"}}],
    }
    return job


MAKE: Mapping[str, Callable[[Path], Job]] = {
    "Embedding": embedding_job,
    "Reranker": ranking_job,
    "Generator": generating_job,
    "QueryTransform": transforming_job,
}


@dataclass(frozen=True, slots=True)
class Finished:
    """A job on an accelerator, and its like on a CPU, which only labelled and prepared."""

    job: Job
    reports: Mapping[Stage, Report]
    used: Mapping[Stage, int]
    """Bytes of the accelerator's memory that a stage took."""
    on_cpu: Job


def run(job: Job, stage: Stage, at: float | None = None) -> Report:
    """Run a stage. at: after which training step the pod has to end."""
    if isinstance(job, generating_jobs.Job):
        return job.run(stage, "train", at)
    return job.run(stage, at)[0]


@pytest.fixture(scope="module", params=COMPONENTS)
def finished(
    request: pytest.FixtureRequest, gpus: int, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    on_cpu, job = (MAKE[request.param](tmp_path_factory.mktemp(request.param)) for _ in range(2))
    job.gpus = gpus
    used, reports = {}, {}
    for stage in STAGES:
        if gpus:
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if gpus else 0
        reports[stage] = run(job, stage)
        used[stage] = (torch.cuda.max_memory_allocated() if gpus else 1) - before
    for stage in (Stage.LABEL, Stage.PREPARE):
        run(on_cpu, stage)
    return Finished(job, reports, used, on_cpu)


def test_every_stage_computes_on_the_accelerator(finished: Finished):
    for stage in USING:
        assert finished.used[stage] > 0, stage


def test_labels_are_those_of_a_cpu(finished: Finished, tell: Tell):
    component = finished.job.spec["component"]
    if component in ("Embedding", "Reranker"):
        name = {"Embedding": "embeddings.npy", "Reranker": lists.SCORES}[component]
        one, other = (
            np.load(job.output(Stage.PREPARE) / name) for job in (finished.job, finished.on_cpu)
        )
        apart = float(np.nanmax(np.abs(one - other)) / np.nanmax(np.abs(other)))
        tell(f"labels apart from the CPU's, relative: {component}", f"{apart:.1e}")
        assert apart < 1e-5
        return
    rows = [
        [row for shard in asking.plan(QUERIES) for row in _answers(job, shard.name)]
        for job in (finished.job, finished.on_cpu)
    ]
    same = float(np.mean([a == b for a, b in zip(*rows, strict=True)]))
    tell(f"answers that are the CPU's, word for word: {component}", f"{same:.1%}")
    # Drawn with the same numbers; a word whose odds are even may fall the other way.
    assert same > 0.97


def _answers(job: Job, shard: str) -> list[str]:
    path = job.output(Stage.LABEL) / shard
    return pq.read_table(path)["answer"].to_pylist() if path.exists() else []


def test_a_killed_training_ends_bit_equal(finished: Finished, gpus: int, tmp_path: Path):
    job = _like(finished.job, tmp_path)
    with pytest.raises(TryAgain):
        run(job, Stage.TRAIN, at=5)
    run(job, Stage.TRAIN)
    whole, again = weights(finished.job), weights(job)
    assert whole.keys() == again.keys()
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert all(value.dtype == np.float32 for value in whole.values())


def _like(job: Job, root: Path) -> Job:
    """Make a job that has the same data prepared, and has not trained."""
    made = copy.copy(job)
    made.root = root
    shutil.copytree(job.root / "workspace", root / "workspace")
    for name in ("train", "evaluate"):
        for output in (root / "workspace").glob(f"{name}-*"):
            shutil.rmtree(output)
        (root / f"workspace/{name}.json").unlink(missing_ok=True)
    for pointer in (root / "workspace").glob("*.json"):
        pointer.write_text(pointer.read_text().replace(str(job.root), str(root)))
    return made


def weights(job: Job) -> dict[str, np.ndarray]:
    files = sorted((job.output(Stage.TRAIN) / "student").rglob("*.safetensors"))
    return {f"{n}.{k}": w for n, f in enumerate(files) for k, w in load_file(f).items()}


def test_a_stage_without_an_accelerator_leaves_it_alone(
    device: torch.device, tmp_path_factory: pytest.TempPathFactory
):
    if device.type == "cpu":
        pytest.skip("needs an accelerator: that it is left alone")
    job = embedding_job(tmp_path_factory.mktemp("without"))
    for stage in STAGES:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(job, stage)
        assert torch.cuda.max_memory_allocated() == before, stage


# So narrow layers have no fast kernel for 4 bits, which is told.
@pytest.mark.filterwarnings("ignore:inner dimension:UserWarning")
@pytest.mark.parametrize("component", ["Embedding", "Generator"])
def test_qlora_trains_merges_and_resumes(component: str, gpus: int, tmp_path: Path, tell: Tell):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: NF4 weights are its own")
    (tmp_path / "one").mkdir()
    job = MAKE[component](tmp_path / "one")
    job.gpus = gpus
    job.spec["training"] = {
        "maxSteps": 8,
        "batchSize": 16,
        "checkpointSteps": 3,
        "optimizer": {"learningRate": 0.01},
        "lora": {"rank": 4, "dropout": 0.1, "quantizedBase": True},
    }
    for stage in (Stage.LABEL, Stage.PREPARE):
        run(job, stage)
    report = run(job, Stage.TRAIN)
    facts = report.facts
    scores = {base: float(facts[f"{base}BaseValidation"]) for base in ("original", "dequantized")}
    assert scores[facts["mergedInto"]] == max(scores.values())
    tell(f"QLoRA, validation by base it is merged into: {component}", str(scores))
    other = _like(job, tmp_path / "other")
    with pytest.raises(TryAgain):
        run(other, Stage.TRAIN, at=5)
    run(other, Stage.TRAIN)
    first, again = weights(job), weights(other)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_quantised_student_runs_on_the_accelerator(
    device: torch.device, tmp_path: Path, tell: Tell
):
    import onnxruntime
    from distill_common import graphs
    from distill_trainer.quantizing.running import InOnnx
    from distill_trainer.students import make
    from distill_trainer.teachers.local import LocalTeacher

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip(
            f"needs onnxruntime-gpu: onnxruntime {onnxruntime.__version__} here has"
            f" {', '.join(onnxruntime.get_available_providers())}"
        )
    job = embedding_job(tmp_path)
    job.spec["quantize"] = {"method": "INT8", "maxLoss": 1.0}
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.QUANTIZE):
        run(job, stage)
    student = make.load(job.output(Stage.TRAIN) / "student").eval()
    graph = job.output(Stage.QUANTIZE) / graphs.FOLDER / graphs.QUANTIZED
    on_cpu = InOnnx(graph, student, threads=1)
    on_gpu = InOnnx(graph, student, threads=1)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    on_gpu._session = onnxruntime.InferenceSession(str(graph), providers=providers)
    texts = ["a1 b2 c3", "d4 e5 f6 g7"]
    rows = [LocalTeacher(one, 2).embed(texts, prompt="").vectors for one in (on_cpu, on_gpu)]
    apart = float(np.abs(rows[0] - rows[1]).max())
    tell("quantised graph on CUDA, from the CPU", f"{apart:.1e}")
    assert apart < 1e-3
