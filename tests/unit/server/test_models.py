"""Both runtimes give what sentence-transformers gives, and a bad folder is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from distill_common import exporting
from distill_server.errors import BadModel
from distill_server.models import export, served
from distill_server.models.served import Served
from safetensors.numpy import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from servers import settings

TEXTS = ["a1 b2 c3", "d4", "e5 f6 g7 h8 a1 a2 a3 a4 a5", "b1 " * 60]
RUNTIMES = ["OnnxRuntime", "Torch"]


def _rows(model: Served, texts: list[Any], prompt: str | None = None) -> np.ndarray:
    return model.compute(model.tokenizer.encode(texts, prompt))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("prompt", ["query", "document"])
def test_embeddings_equal_those_of_sentence_transformers(student: Path, runtime: str, prompt: str):
    oracle = SentenceTransformer(str(student), device="cpu")
    model = served.open_model(settings(student, runtime=runtime))
    found = _rows(model, TEXTS, model.prompts[prompt])
    assert found.shape == (4, model.width) == (4, 24)
    assert np.abs(found - oracle.encode(TEXTS, prompt_name=prompt)).max() < 1e-5
    assert np.abs(_rows(model, TEXTS[1:2]) - oracle.encode(TEXTS[1:2], prompt="")).max() < 1e-5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_equal_those_of_a_cross_encoder(reranker: Path, runtime: str):
    pairs = [("a1 b2", text) for text in TEXTS]
    expected = CrossEncoder(str(reranker), device="cpu").predict(pairs)
    model = served.open_model(settings(reranker, runtime=runtime))
    found = _rows(model, pairs)
    assert model.reranker
    assert expected.std() > 1e-3, "scores that are all alike prove nothing"
    assert np.abs(found[:, 0] - expected).max() < 1e-5


def test_a_graph_of_the_body_alone_is_finished_with_the_folders_own_modules(
    student: Path, tmp_path: Path
):
    folder = shutil.copytree(student, tmp_path / "model")
    _export_body(folder)
    model = served.open_model(settings(folder))
    oracle = SentenceTransformer(str(student), device="cpu")
    assert np.abs(_rows(model, TEXTS) - oracle.encode(TEXTS, prompt="")).max() < 1e-5


def test_a_graph_of_other_weights_is_refused(student: Path, tmp_path: Path):
    folder = shutil.copytree(student, tmp_path / "model")
    _export_body(folder)
    _damage(folder)
    with pytest.raises(BadModel, match=r"other results than the weights .* --runtime Torch"):
        served.open_model(settings(folder))


def test_an_exported_graph_is_kept_for_the_same_folder_and_no_other(student: Path, tmp_path: Path):
    folder = shutil.copytree(student, tmp_path / "model")
    first = served.open_model(settings(student))
    cache = export._cache()
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx")}
    assert served.open_model(settings(folder)).identity == first.identity
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx")} == before
    _damage(folder)
    other = served.open_model(settings(folder))
    assert other.identity.weights != first.identity.weights
    assert np.abs(_rows(other, TEXTS) - _rows(first, TEXTS)).max() > 1e-3


def _export_body(folder: Path) -> None:
    """Write what other exporters leave: the body's last hidden state."""
    body = tiny_models.teacher()[0]
    model = SentenceTransformer(modules=[body], device="cpu").eval()
    features = {k: v.numpy() for k, v in model.preprocess(TEXTS).items() if hasattr(v, "numpy")}
    (folder / "onnx").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill_common.exporting.finish", lambda _m, f: f["token_embeddings"])
        patch.setattr("distill_common.exporting.output_name", lambda _m: "last_hidden_state")
        exporting.export(model, features, folder / "onnx" / "model.onnx")


def _damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("layer.0.output.dense.weight"))
    save_file(weights | {name: weights[name] * -1}, path, {"format": "pt"})


def test_a_folder_without_safetensors_is_refused(student: Path, tmp_path: Path):
    folder = shutil.copytree(student, tmp_path / "model")
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(BadModel, match=r"holds no \*\.safetensors: mount the model's folder"):
        served.open_model(settings(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BadModel, match=r"there is no folder .*: mount the model there"):
        served.open_model(settings(tmp_path / "nowhere"))


def test_a_model_with_its_own_code_is_refused(student: Path, tmp_path: Path):
    folder = shutil.copytree(student, tmp_path / "model")
    trace = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "own.Own"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadModel, match="cannot be loaded"):
        served.open_model(settings(folder))
    assert not trace.exists()


def test_a_classifier_of_several_labels_is_no_reranker(reranker: Path, tmp_path: Path):
    folder = shutil.copytree(reranker, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    wide = {n: np.repeat(w, 3, axis=0) for n, w in weights.items() if n.startswith("classifier.")}
    save_file(weights | wide, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "id2label": {str(i): f"L{i}" for i in range(3)},
        "label2id": {f"L{i}": i for i in range(3)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="3 labels, and a reranker has exactly one"):
        served.open_model(settings(folder))
