"""What is written into a model repository, and when none can be."""

import json
import shutil
from pathlib import Path

import pytest
from distill_api.exports import TritonRepository
from distill_api.names import Stage
from distill_api.token_ids import TOKEN_IDS_FILE
from distill_trainer import fingerprints
from distill_trainer.errors import BadInput
from distill_trainer.publishing import bundle as bundles
from distill_trainer.publishing.bundle import Material
from distill_trainer.triton import repository
from google.protobuf import text_format
from trainer import INPUTS, a_task
from triton_students import published
from tritonclient.grpc import model_config_pb2 as messages


def config(models: Path, name: str) -> messages.ModelConfig:
    text = (models / "triton" / name / "config.pbtxt").read_text()
    return text_format.Parse(text, messages.ModelConfig())


def test_the_graph_is_batched_warmed_up_and_copied_as_asked(student: Path, tmp_path: Path) -> None:
    models = published(
        student,
        tmp_path,
        backend="OnnxRuntime",
        instances=2,
        preferred_batch_sizes=[16, 4],
        max_queue_delay_microseconds=700,
    )
    graph = config(models, "student__graph")
    assert (graph.backend, graph.max_batch_size) == ("onnxruntime", 32)
    assert list(graph.dynamic_batching.preferred_batch_size) == [4, 16]
    assert graph.dynamic_batching.max_queue_delay_microseconds == 700
    assert [group.count for group in graph.instance_group] == [2]
    assert [one.batch_size for one in graph.model_warmup] == [1, 4, 16]
    assert graph.version_policy.latest.num_versions == 1
    copied = models / "triton" / "student__graph" / "1" / "model.onnx"
    assert copied.read_bytes() == (models / "onnx" / "model_quantized.onnx").read_bytes()
    ensemble = config(models, "student")
    assert ensemble.name == ""
    assert ensemble.parameters["weights"].string_value == "sha256:w"
    assert config(models, "student__probe") == ensemble


def test_the_python_backend_runs_the_artifacts_own_graph(student: Path, tmp_path: Path) -> None:
    models = published(student, tmp_path)
    graph = config(models, "student__graph")
    computing = json.loads(graph.parameters["computing"].string_value)
    assert graph.backend == "python"
    assert computing["graph"] == "onnx/model_quantized.onnx"
    assert not list((models / "triton").rglob("*.onnx"))
    # A second version lies beside the first, and every folder has a file that archives keep.
    for folder in (models / "triton").iterdir():
        assert list((folder / "1").iterdir())


def test_a_tokenizer_that_reads_otherwise_than_in_training_is_refused(
    student: Path, tmp_path: Path
) -> None:
    models = published(student, tmp_path)
    trained = json.loads((models / TOKEN_IDS_FILE).read_text())
    trained["samples"][2]["tokens"][1] += 1
    (models / TOKEN_IDS_FILE).write_text(json.dumps(trained))
    with pytest.raises(BadInput, match="Triton would read the query 'accents' otherwise"):
        repository.write(models, TritonRepository(), weights="w")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("onnx/*", "add export.onnx, or quantize.method INT8"),
        ("tokenizer.json", "needs a fast tokenizer"),
        (TOKEN_IDS_FILE, "train the student anew"),
    ],
)
def test_what_is_missing_is_named(student: Path, tmp_path: Path, gone: str, said: str) -> None:
    models = published(student, tmp_path)
    for path in models.glob(gone):
        path.unlink()
    with pytest.raises(BadInput, match=said):
        repository.write(models, TritonRepository(), weights="w")


def test_a_published_student_comes_with_the_repository_it_was_asked_for(
    student: Path, tmp_path: Path
) -> None:
    trained, quantized, empty = (tmp_path / name for name in ("trained", "quantized", "empty"))
    empty.mkdir()
    shutil.copytree(student, trained / "student")
    shutil.move(trained / "student" / "onnx", quantized / "onnx")
    (quantized / "quantization.json").write_text("{}")
    task = a_task(
        tmp_path,
        Stage.PUBLISH,
        quantize={"method": "INT8"},
        export={"tritonRepository": {"backend": "Python"}},
    )
    material = Material(
        task=task,
        trained=trained,
        evaluated=empty,
        prepared=empty,
        lineage=fingerprints.lineage(task, INPUTS),
        evaluation=None,
        quantized=quantized,
    )
    bundle = bundles.assemble(material, tmp_path / "bundle")
    names = {entry.name for entry in bundle.entries}
    assert {"triton/student/config.pbtxt", "triton/student__graph/1/model.py"} <= names
    assert material.formats == ["safetensors", "onnx-int8", "triton"]
    told = (bundle.path / "triton" / "student" / "config.pbtxt").read_text()
    assert bundle.weights_digest in told
