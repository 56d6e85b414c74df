"""Students cut out of a teacher: which weights they keep, and that their folder is plain."""

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_rankers
import torch
from distill_api.sources import ModelSource
from distill_api.student import FromTeacher, Student
from distill_api.teacher import Prompts
from distill_trainer.errors import BadInput
from distill_trainer.students import from_teacher, head, make, rankers, slicing
from distill_trainer.teachers import encoders
from safetensors import safe_open
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from transformers import AutoModel, AutoTokenizer

TEXTS = ["a1 a2 b3", "c4", "d5 e6 f7 g8 h9 a1 a1"]


def student(folder: Path, **wanted: object) -> SentenceTransformer:
    spec = Student.model_validate(wanted)
    return make.make(spec, folder, Prompts(), max_length=24, seed=7)


def encoded(model: SentenceTransformer) -> np.ndarray:
    return model.encode(TEXTS, show_progress_bar=False)


def test_kept_layers_are_the_teacher_s_in_their_new_places(
    world: tiny_models.World, teacher_folder: Path
):
    made = student(teacher_folder, fromTeacher={"keepLayers": [1, 3]})
    teacher = world.teacher[0].auto_model
    for place, layer in enumerate((1, 3)):
        own = made[0].auto_model.encoder.layer[place].state_dict()
        theirs = teacher.encoder.layer[layer].state_dict()
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_all_layers_kept_make_the_teacher(world: tiny_models.World, teacher_folder: Path):
    made = student(teacher_folder, fromTeacher={"keepLayers": [0, 1, 2, 3]})
    assert np.abs(encoded(made) - encoded(world.teacher)).max() == 0.0


@pytest.mark.parametrize("dimension", [None, 12])
def test_the_folder_loads_with_difference_zero(
    teacher_folder: Path, tmp_path: Path, dimension: int | None
):
    wanted = {"fromTeacher": {"keepLayers": [0, 2], "hiddenSize": 16, "intermediateSize": 24}}
    if dimension:
        wanted["embeddingDimension"] = dimension
    made = student(teacher_folder, **wanted).eval()
    make.save(made, tmp_path)
    back = SentenceTransformer(str(tmp_path), device="cpu")
    assert np.abs(encoded(made) - encoded(back)).max() == 0.0
    assert back.max_seq_length == 24
    assert encoded(back).shape == (3, dimension or 16)
    assert not list(tmp_path.rglob("*.bin"))


def test_transformers_loads_the_body_with_difference_zero(teacher_folder: Path, tmp_path: Path):
    made = student(teacher_folder, fromTeacher={"keepLayers": [0], "hiddenSize": 8}).eval()
    make.save(made, tmp_path)
    inputs = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding=True, return_tensors="pt")
    plain = AutoModel.from_pretrained(tmp_path)(**inputs).last_hidden_state
    ours = made[0].auto_model(**inputs).last_hidden_state
    assert (plain - ours).abs().max().item() == 0.0


def test_slicing_keeps_the_strongest_units_in_order(world: tiny_models.World):
    weights = world.teacher[0].auto_model.state_dict()
    loud = {name: weight.clone() for name, weight in weights.items()}
    for name, weight in loud.items():
        for dimension, axis in enumerate(slicing.axes(name)):
            if axis is slicing.Axis.RESIDUAL:
                weight.index_fill_(dimension, torch.tensor([3, 9, 10, 30]), 50.0)
    now, then = slicing.Widths(32, 4, 8, 64), slicing.Widths(4, 1, 8, 5)
    cut = slicing.narrow(loud, now, then)
    assert cut["embeddings.word_embeddings.weight"].shape == (101, 4)
    assert (cut["embeddings.word_embeddings.weight"] == 50).all()
    assert cut["encoder.layer.0.attention.self.query.weight"].shape == (8, 4)
    assert cut["encoder.layer.2.intermediate.dense.bias"].shape == (5,)
    original = weights["encoder.layer.0.attention.self.key.bias"].view(4, 8)
    found = cut["encoder.layer.0.attention.self.key.bias"]
    assert any(torch.equal(found, head_bias) for head_bias in original)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"keepLayers": [0, 4]}, "names layer 4, and the teacher has 4 layers"),
        ({"keepLayers": [0], "hiddenSize": 12}, "hiddenSize a multiple of 8 up to 32"),
        ({"keepLayers": [0], "hiddenSize": 64}, "hiddenSize a multiple of 8 up to 32"),
        ({"keepLayers": [0], "intermediateSize": 128}, "intermediateSize up to 64"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_a_sentence(
    teacher_folder: Path, wanted: dict[str, object], sentence: str
):
    with pytest.raises(BadInput, match=sentence):
        student(teacher_folder, fromTeacher=wanted)


def test_other_architectures_are_refused_when_widths_are_sliced(world: tiny_models.World):
    body = world.teacher[0].auto_model
    body.config.model_type, before = "mpnet", body.config.model_type
    try:
        wanted = FromTeacher(keep_layers=[0], hidden_size=16)
        with pytest.raises(BadInput, match=r"this one is mpnet: remove both"):
            from_teacher.cut(world.teacher, wanted)
    finally:
        body.config.model_type = before


def test_a_length_beyond_the_positions_is_refused(teacher_folder: Path):
    spec = Student.model_validate({"fromTeacher": {"keepLayers": [0]}})
    with pytest.raises(BadInput, match=r"100 tokens .* end at 64"):
        make.make(spec, teacher_folder, Prompts(), max_length=100, seed=0)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot be loaded as a SentenceTransformer"):
        make.load(tmp_path)


def test_weights_stored_in_half_are_trained_and_asked_in_full(teacher_folder: Path, tmp_path: Path):
    # T6: transformers takes the type of the file, in which small steps of AdamW would be lost.
    half = make.load(teacher_folder)
    half.to(torch.bfloat16)
    half.save(str(tmp_path / "half"))
    ranker = tiny_rankers.teacher()
    ranker.to(torch.bfloat16)
    ranker.save(str(tmp_path / "ranker"))
    source = ModelSource(uri="file:///half")
    model = {"model": {"uri": "file:///half"}}
    found: list[torch.nn.Module] = [
        student(tmp_path / "half", **model),
        student(tmp_path / "half", fromTeacher={"keepLayers": [1]}),
        encoders.load(SentenceTransformer, tmp_path / "half", source, None, gpus=0),
        encoders.load(CrossEncoder, tmp_path / "ranker", source, None, gpus=0),
    ]
    for kind in ("BiEncoder", "LateInteraction", "CrossEncoder"):
        wanted = {"fromTeacher": {"keepLayers": [0]}, "architecture": kind}
        spec = Student.model_validate(wanted)
        found.append(rankers.make_ranker(spec, tmp_path / "ranker", Prompts(), max_length=None,
                                         seed=0))  # fmt: skip
    for one in found:
        assert {p.dtype for p in one.parameters()} == {torch.float32}
    with safe_open(str(tmp_path / "half/model.safetensors"), "pt") as stored:
        assert stored.get_tensor(next(iter(stored.keys()))).dtype is torch.bfloat16


def test_prompts_that_the_pooling_leaves_out_are_refused(teacher_folder: Path, tmp_path: Path):
    model = make.load(teacher_folder)
    model[1].include_prompt = False
    model.save(str(tmp_path))
    spec = Student.model_validate({"model": {"uri": "file:///x"}})
    with pytest.raises(BadInput, match="pooling leaves its prompts out"):
        make.make(spec, tmp_path, Prompts(query="q: "), max_length=None, seed=0)
    make.make(spec, tmp_path, Prompts(), max_length=None, seed=0)


def test_prompts_are_kept_for_those_who_serve(teacher_folder: Path, tmp_path: Path):
    spec = Student.model_validate({"fromTeacher": {"keepLayers": [0]}})
    prompts = Prompts(query="q: ", document="d: ")
    make.save(make.make(spec, teacher_folder, prompts, max_length=None, seed=0), tmp_path)
    assert SentenceTransformer(str(tmp_path)).prompts == {"query": "q: ", "document": "d: "}


def test_a_fitted_head_keeps_inner_products_better_than_a_random_one(
    world: tiny_models.World, teacher_folder: Path
):
    wanted = {"fromTeacher": {"keepLayers": [0, 1, 2, 3]}, "embeddingDimension": 16}
    texts = [" ".join(tiny_models.WORDS[i : i + 5]) for i in range(90)]
    target = world.teacher.encode(texts, show_progress_bar=False)
    errors = []
    for fitted in (False, True):
        made = student(teacher_folder, **wanted)
        if fitted:
            assert head.fit(made, texts, target, turned=False)
        own = made.encode(texts, show_progress_bar=False)
        errors.append(float(np.abs(own @ own.T - target @ target.T).mean()))
    assert errors[1] < 0.3 * errors[0]


def test_a_linear_layer_that_a_student_brings_is_not_fitted_anew(
    world: tiny_models.World, teacher_folder: Path, tmp_path: Path
):
    whole = make.load(teacher_folder)
    own = Dense(32, 24)
    brought = SentenceTransformer(modules=[whole[0], whole[1], own, whole[2]], device="cpu")
    brought.save(str(tmp_path))
    made = student(tmp_path, model={"uri": "file:///x"}, embeddingDimension=12)
    new = made[3].linear.weight.clone()
    teacher = world.teacher.encode(TEXTS * 8, show_progress_bar=False)
    assert head.fit(made, TEXTS * 8, teacher, turned=False)
    assert torch.equal(made[2].linear.weight, own.linear.weight)
    assert not torch.equal(made[3].linear.weight, new)
    assert encoded(made).shape == (3, 12)


def test_the_width_of_a_late_interaction_model_is_its_own(teacher_folder: Path, tmp_path: Path):
    make.load(teacher_folder)[0].save(str(tmp_path))
    spec = {"model": {"uri": "file:///x"}, "architecture": "LateInteraction"}
    made = rankers.make_ranker(
        Student.model_validate(spec), tmp_path, Prompts(), max_length=None, seed=0
    )
    width = made.get_embedding_dimension()
    with pytest.raises(BadInput, match=f"gives each token {width} dimensions"):
        rankers.make_ranker(
            Student.model_validate(spec | {"embeddingDimension": 12}), tmp_path, Prompts(),
            max_length=None, seed=0,
        )  # fmt: skip


def test_a_narrower_teacher_leaves_the_head_as_it_is(teacher_folder: Path):
    made = student(teacher_folder, fromTeacher={"keepLayers": [0]}, embeddingDimension=48)
    before = made[2].linear.weight.clone()
    assert not head.fit(made, TEXTS, np.ones((3, 32), dtype=np.float32), turned=False)
    assert torch.equal(before, made[2].linear.weight)


@pytest.mark.parametrize(("turned", "near"), [(False, True), (True, False)])
def test_a_head_of_the_teacher_s_width_starts_in_its_space_unless_it_is_turned(
    world: tiny_models.World, teacher_folder: Path, *, turned: bool, near: bool
):
    made = student(teacher_folder, fromTeacher={"keepLayers": [0, 1, 2, 3]}, embeddingDimension=32)
    texts = [" ".join(tiny_models.WORDS[i : i + 5]) for i in range(90)]
    target = world.teacher.encode(texts, show_progress_bar=False)
    assert head.fit(made, texts, target, turned=turned)
    own = made.encode(texts, show_progress_bar=False)
    assert (float((own * target).sum(axis=1).mean()) > 0.98) is near
    assert np.abs(own @ own.T - target @ target.T).mean() < 0.02
