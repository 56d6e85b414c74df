"""An image's name follows from its inputs, and from nothing else."""

import shutil
from pathlib import Path

import pytest
from devcluster.images import build, recipe


@pytest.fixture
def sources(root: Path, tmp_path: Path) -> Path:
    build.snapshot(recipe.trainer("cpu"), root, tmp_path)
    return tmp_path


def test_a_copy_of_the_inputs_has_the_same_name(root: Path, sources: Path) -> None:
    image = recipe.trainer("cpu")
    assert recipe.names(image, sources) == recipe.names(image, root)


def test_a_change_of_code_leaves_the_dependencies_alone(sources: Path) -> None:
    image = recipe.trainer("cpu")
    before = recipe.names(image, sources)
    (sources / "trainer-image/src/distill_trainer/new.py").write_text("X = 1\n")
    after = recipe.names(image, sources)
    assert after.image != before.image
    assert (after.base, after.dependencies) == (before.base, before.dependencies)


def test_a_changed_entry_point_leaves_the_dependencies_alone(sources: Path) -> None:
    image = recipe.trainer("cpu")
    before = recipe.names(image, sources)
    dockerfile = sources / image.dockerfile
    dockerfile.write_text(dockerfile.read_text() + 'CMD ["--help"]\n')
    after = recipe.names(image, sources)
    assert after.image != before.image
    assert after.dependencies == before.dependencies


@pytest.mark.parametrize("path", ["trainer-image/requirements-cpu.txt", "scripts/image-install.sh"])
def test_a_change_of_what_is_installed_renames_both(sources: Path, path: str) -> None:
    image = recipe.trainer("cpu")
    before = recipe.names(image, sources)
    (sources / path).write_text((sources / path).read_text() + "# changed\n")
    after = recipe.names(image, sources)
    assert after.image != before.image
    assert after.dependencies != before.dependencies


def test_a_renamed_file_is_a_change(sources: Path) -> None:
    image = recipe.trainer("cpu")
    before = recipe.names(image, sources)
    folder = sources / "trainer-image/src/distill_trainer"
    shutil.move(folder / "__main__.py", folder / "__moved__.py")
    assert recipe.names(image, sources).image != before.image


def test_what_python_leaves_behind_is_no_input(sources: Path) -> None:
    image = recipe.trainer("cpu")
    before = recipe.names(image, sources)
    cache = sources / "trainer-image/src/distill_trainer/__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"x")
    assert recipe.names(image, sources) == before


def test_the_accelerators_have_different_names(root: Path) -> None:
    cpu, cuda = (recipe.names(recipe.trainer(kind), root) for kind in ("cpu", "cuda"))
    assert cpu.dependencies != cuda.dependencies
    assert cpu.image != cuda.image


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"operator/Dockerfile is an input of an image"):
        recipe.files(tmp_path, recipe.operator().inputs)


def test_vllms_image_is_built_for_processors_and_where_it_is_named_only(root: Path) -> None:
    found = recipe.names(recipe.named("vllm", "cpu"), root)
    assert "/vllm-dependencies:" in found.dependencies
    assert "vllm" not in recipe.NAMES
    with pytest.raises(ValueError, match="docker build -f server-image/vllm/Dockerfile"):
        recipe.named("vllm", "cuda")


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="the images are operator, trainer, server, vllm"):
        recipe.named("gateway", "cpu")


def test_every_image_is_known_by_its_name() -> None:
    assert [recipe.named(name, "cpu").name for name in recipe.NAMES] == list(recipe.NAMES)


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_the_server_stands_upon_the_trainers_dependencies(
    root: Path, accelerator: recipe.Accelerator
) -> None:
    server = recipe.names(recipe.server(accelerator), root)
    trainer = recipe.names(recipe.trainer(accelerator), root)
    assert server.dependencies == trainer.dependencies
    assert server.image != trainer.image


@pytest.mark.parametrize(
    "image", [recipe.named(name, "cpu") for name in recipe.NAMES], ids=lambda i: i.name
)
def test_a_dockerfile_copies_what_the_name_hashes(root: Path, image: recipe.Image) -> None:
    text = (root / image.dockerfile).read_text().replace("\\\n", " ")
    text = text.replace("${ACCELERATOR}", image.accelerator or "")
    lines = [line.split() for line in text.splitlines() if line.startswith("COPY ")]
    copied = {word for words in lines if not words[1].startswith("--from") for word in words[1:-1]}
    assert copied == {*image.dependencies, *image.code}
