"""The export stage of encoders: one graph, held against the weights, published and served."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from distill_api.names import Reason, Stage
from distill_common import exporting, graphs
from distill_server.models import served
from distill_trainer.errors import BadInput
from distill_trainer.exporting import files
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher
from servers import settings
from stage_jobs import Job, ranking_job

BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
ARCHITECTURES = {
    "BiEncoder": graphs.EMBEDDING,
    "CrossEncoder": graphs.SCORE,
    "LateInteraction": graphs.TOKENS,
}
"""Kind of a reranker → the output of its graph."""


@pytest.fixture(scope="module")
def finished(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("exported"), teacher_folder, export={"onnx": {"opset": 18}})
    (job.root / "volumes" / "models").mkdir(parents=True)
    job.spec["evaluation"] |= {"onMissedGate": "Publish"}
    job.spec["quantize"] = {"method": "INT8", "maxLoss": 1.0}
    for stage in (*BEFORE, Stage.QUANTIZE, Stage.EXPORT, Stage.EVALUATE, Stage.PUBLISH):
        job.run(stage)
    return job


def test_the_stage_tells_graph_opset_and_difference(finished: Job):
    report, _ = finished.run(Stage.EXPORT)
    assert report.reused
    assert report.facts["onnxGraphs"] == "1"
    assert report.facts["onnxOpset"] == "18"
    assert 0 < float(report.facts["onnxLargestDifference"]) < 1e-4
    assert report.facts["onnxBatchesCompared"] == "9"
    assert "ONNX: model.onnx" in report.summary
    graph = finished.output(Stage.EXPORT) / graphs.FOLDER / graphs.FLOAT
    model = onnx.load(graph)
    assert {entry.version for entry in model.opset_import if not entry.domain} == {18}
    for entry in model.graph.input:
        axes = [one.dim_param for one in entry.type.tensor_type.shape.dim]
        assert axes == ["batch", "length"]


def test_both_graphs_are_published_and_the_float_one_gives_the_student_s_embeddings(finished: Job):
    report, _ = finished.run(Stage.PUBLISH)
    assert report.artifact is not None
    assert report.artifact.formats == ["safetensors", "onnx", "onnx-int8"]
    folder = finished.root / "volumes" / "models" / "models"
    names = sorted(path.name for path in (folder / "onnx").iterdir())
    assert names == [graphs.FLOAT, graphs.QUANTIZED]
    assert not list(folder.rglob("manifest.json"))
    told = json.loads((folder / graphs.EXPORTED).read_text())["onnx"]
    assert [graph["file"] for graph in told["graphs"]] == ["onnx/model.onnx"]
    assert told["graphs"][0]["outputs"][0]["shape"] == ["batch", 12]
    assert "onnxruntime" in told["verifiedWith"]
    card = (folder / "README.md").read_text()
    assert "## ONNX" in card
    assert "`onnx/model.onnx`" in card
    assert "pooling and normalising included" in card
    assert "export" in json.loads((folder / "lineage.json").read_text())["spec"]
    session = onnxruntime.InferenceSession(folder / "onnx" / graphs.FLOAT)
    trained = make.load(finished.output(Stage.TRAIN) / "student").eval()
    texts = ["a1 b2 c3", "d4"]
    tokens = trained.preprocess(texts)
    (rows,) = session.run(
        None, {one.name: tokens[one.name].numpy() for one in session.get_inputs()}
    )
    expected = LocalTeacher(trained, 2).embed(texts, prompt="").vectors
    assert np.abs(rows - expected).max() < 1e-5


def test_a_published_float_graph_is_what_the_server_runs(finished: Job, tmp_path: Path):
    published = finished.root / "volumes" / "models" / "models"
    folder = tmp_path / "float"
    folder.mkdir()
    for path in published.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / graphs.NOTE).unlink()  # without its note the quantised graph is not served
    model = served.open_model(settings(folder))
    trained = make.load(finished.output(Stage.TRAIN) / "student").eval()
    texts = ["a1 b2 c3", "d4"]
    rows = model.compute(model.tokenizer.encode(texts, None))
    assert np.abs(rows - LocalTeacher(trained, 2).embed(texts, prompt="").vectors).max() < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kind_of_reranker_is_exported(tmp_path: Path, architecture: str):
    job = ranking_job(tmp_path)
    job.spec["export"] = {"onnx": {}}
    job.spec["training"] |= {"maxSteps": 2}
    job.spec["student"]["architecture"] = architecture
    for stage in BEFORE:
        job.run(stage)
    report, _ = job.run(Stage.EXPORT)
    assert float(report.facts["onnxLargestDifference"]) < 1e-4
    graph = onnx.load(job.output(Stage.EXPORT) / graphs.FOLDER / graphs.FLOAT)
    (output,) = graph.graph.output
    assert output.name == ARCHITECTURES[architecture]
    axes = [one.dim_param or one.dim_value for one in output.type.tensor_type.shape.dim]
    free = ["batch", "length"] if architecture == "LateInteraction" else ["batch"]
    assert axes[:-1] == free


def test_a_graph_that_is_off_fails_the_stage_with_the_numbers(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Wrong(exporting.Pipeline):
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return super().forward(*tensors) * 1.01

    monkeypatch.setattr(exporting, "Pipeline", Wrong)
    job = Job(tmp_path, teacher_folder, export={"onnx": {"maxDifference": 0.001}})
    for stage in BEFORE:
        job.run(stage)
    with pytest.raises(BadInput, match=r"largest difference 0\.0.*at most 0\.001 is") as caught:
        job.run(Stage.EXPORT)
    assert caught.value.reason is Reason.BAD_MODEL
    assert "raise export.onnx.maxDifference" in str(caught.value)
    assert not (job.root / "workspace" / "export.json").exists()
    loose = job.spec | {"export": {"onnx": {"maxDifference": 0.05}}}
    assert job.run(Stage.EXPORT, spec=loose)[0].outcome == "Done"


def test_many_weights_are_put_beside_their_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Product(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(64, 64))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows @ self.weight

    monkeypatch.setattr(files, "LIMIT", 1000)
    module, rows = Product(), torch.randn(3, 64)
    signature = exporting.Signature({"rows": {0: "batch"}}, {"product": {0: "batch"}})
    part = exporting.Part(module, (rows,), signature)
    graph = tmp_path / "model.onnx"

    files.write(partial(exporting.trace, part, opset=20), graph)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert files.external(graph)
    assert files.size(graph) > 64 * 64 * 4 > graph.stat().st_size
    (found,) = onnxruntime.InferenceSession(graph).run(None, {"rows": rows.numpy()})
    assert np.abs(found - (rows @ module.weight).detach().numpy()).max() < 1e-5
    assert files.described(graph)["externalData"]
