"""The rollout demo: what spoils a student, and what its picture shows."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from examples.rollout import damage, picture
from examples.rollout.follow import Sample


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    weights = {
        "layer.weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(1)),
        "layer.bias": torch.ones(64),
        "positions": torch.arange(64).reshape(1, 64),
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_spoilt_student_has_noise_in_its_matrices_and_nowhere_else(
    published: Path, tmp_path: Path
) -> None:
    before = load_file(published / "model.safetensors")
    after = load_file(damage.spoil(published, tmp_path / "spoilt", noise=0.5) / "model.safetensors")
    added = after["layer.weight"] - before["layer.weight"]
    assert added.std().item() == pytest.approx(0.5 * before["layer.weight"].std().item(), rel=0.05)
    for name in ("layer.bias", "positions"):
        assert torch.equal(after[name], before[name])
    assert (tmp_path / "spoilt" / "config.json").is_file()


def test_the_same_student_is_spoilt_alike_each_time(published: Path, tmp_path: Path) -> None:
    files = [damage.spoil(published, tmp_path / n) / "model.safetensors" for n in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("test", "where"),
    [
        ({"llr": "2.4", "upper": "4.8", "lower": "-3"}, 0.5),
        ({"llr": "-1.5", "upper": "4.8", "lower": "-3"}, -0.5),
        ({"llr": "4.8", "upper": "4.8", "lower": "-3"}, 1.0),
        ({"llr": "0.1", "upper": "5", "proof": "3", "proofBound": "3"}, -1.0),
        ({"llr": "5", "upper": "5", "proof": "0", "proofBound": "3"}, 1.0),
    ],
)
def test_the_picture_shows_a_test_between_its_bounds(test: dict[str, str], where: float) -> None:
    metric = {"name": "errors", "test": test}
    ((_, found),) = picture._positions([Sample(1.0, {"metrics": [metric]})], "errors")
    assert found == pytest.approx(where)


def test_the_picture_is_drawn_before_anything_is_known(tmp_path: Path) -> None:
    drawn = picture.draw([Sample(0.0, {})], "minilm: Pending", tmp_path / "made" / "minilm.svg")
    svg = drawn.read_text()
    # Letters are drawn as paths; what they spell stands before them.
    for words in ("minilm: Pending", "decided", "measured", "rolled back", "healthy"):
        assert f"<!-- {words} -->" in svg, words
