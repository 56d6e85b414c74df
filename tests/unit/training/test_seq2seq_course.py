"""An encoder-decoder student: its gradients, its cache, its layers, its number formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_transforms as tiny
import torch
from distill_api.recipe import Divergence, QueryTransformRecipe
from distill_api.student import FromTeacher
from distill_api.teacher import Sampling
from distill_api.training import Training
from distill_trainer.errors import BadInput
from distill_trainer.losses import logits
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.teachers import answers, local_seq2seq
from distill_trainer.teachers.local_seq2seq import LocalSeq2Seq
from distill_trainer.texts import querying
from distill_trainer.training import seq2seq as courses
from distill_trainer.training.seq2seq import Seq2SeqCourse
from distill_trainer.training.sequences import Taught
from safetensors.torch import load_file, save_file
from torch import Tensor


def some(model: Seq2Seq, count: int, teacher: Seq2Seq | None = None) -> list[Taught]:
    """Make texts of different lengths, with a teacher's cached distributions where given."""
    found = []
    for place, (query, kept, _) in enumerate(tiny.expansions(count)):
        task = tiny.EXPAND.task
        source = seq2seq.source_ids(model.tokenizer, querying.source(query, task) + " f1" * place)
        target = seq2seq.target_ids(model.tokenizer, querying.written(kept[: 1 + place % 2]))
        cached = None
        if teacher is not None:
            (cached,) = local_seq2seq.top_k(teacher, [source], [target], 12)
        found.append(Taught(np.array(source), np.array(target), cached))
    return found


def course(
    model: Seq2Seq, examples: list[Taught], recipe: dict[str, object], **training: object
) -> Seq2SeqCourse:
    settings = Training.model_validate({"maxSteps": 4, "batchSize": len(examples), **training})
    made = QueryTransformRecipe.model_validate(recipe)
    return Seq2SeqCourse(made, settings, model, examples, examples, tiny.CPU, model.known)


def gradients(of: Seq2SeqCourse) -> tuple[float, dict[str, Tensor]]:
    of.student.zero_grad(set_to_none=True)
    loss = of.learn(0).loss
    found = {n: p.grad.clone() for n, p in of.student.named_parameters() if p.grad is not None}
    return loss, found


@pytest.mark.parametrize(
    "recipe",
    [
        {"outputs": {"labelSmoothing": 0.1}},
        *({"logits": {"temperature": 2, "divergence": kind.value}} for kind in Divergence),
    ],
    ids=str,
)
def test_any_split_of_a_step_gives_the_same_gradient(recipe: dict[str, object]):
    teacher, student = tiny.encoder_decoder(), tiny.encoder_decoder(1, padded=3)
    for model in (teacher, student):
        model.model.double()
    examples = some(student, 9, teacher)
    expected = gradients(course(student, examples, recipe))
    for rows in (1, 2, 4):
        found = gradients(course(student, examples, recipe, microBatchSize=rows))
        assert found[0] == pytest.approx(expected[0], rel=1e-6)
        assert found[1].keys() == expected[1].keys()
        for name, gradient in found[1].items():
            torch.testing.assert_close(gradient, expected[1][name], rtol=1e-4, atol=1e-6)
    assert sum(float(one.abs().sum()) for one in expected[1].values()) > 0


def test_the_loss_is_the_library_s_with_padding_as_minus_100():
    # T17: padding by place; T5 also begins with the token that pads.
    student = tiny.encoder_decoder()
    examples = some(student, 5)
    batch = courses.pad(examples, student)
    labels = torch.full_like(batch.before, -100)
    labels[batch.learnt] = batch.labels
    made = student.model.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(made[batch.learnt], batch.before[batch.learnt])
    theirs = student.model(input_ids=batch.source, attention_mask=batch.mask, labels=labels).loss
    found = course(student, examples, {"outputs": {}}).learn(0)
    assert found.loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    assert found.examples == sum(len(one.target) for one in examples)
    score = course(student, examples, {"outputs": {}}, microBatchSize=2).score()
    assert score == pytest.approx(-found.loss, rel=1e-5)


def test_a_cache_teaches_what_the_teacher_s_distributions_would():
    teacher, student = tiny.encoder_decoder(), tiny.encoder_decoder(1)
    examples = some(student, 4)
    everything = [
        replace(one, cached=local_seq2seq.top_k(teacher, [one.prompt.tolist()],
                                                [one.target.tolist()], 500)[0])
        for one in examples
    ]  # fmt: skip
    recipe: dict[str, object] = {"logits": {"temperature": 1, "alpha": 1}}
    found = course(student, everything, recipe).learn(0)
    batch = courses.pad(examples, student)
    with torch.no_grad():
        both = [
            one.logits(one.states(batch.source, batch.mask, batch.before)[batch.learnt])
            for one in (student, teacher)
        ]
        known = student.known
        exact = logits.divergence(
            both[0][:, :known], both[1][:, :known], Divergence.FORWARD_KL, 1.0
        ).mean()
    # All known tokens are cached; what is left is float16.
    assert found.loss == pytest.approx(float(exact), rel=5e-3)


def test_nothing_is_cached_of_rows_that_no_token_has():
    # T4: T5's head has 32128 rows for 32100 tokens.
    teacher = tiny.encoder_decoder(padded=8)
    with torch.no_grad():
        teacher.model.get_output_embeddings().weight[-8:] = 10.0
    (found,) = local_seq2seq.top_k(teacher, [[4, 2]], [[9, 10, 2]], 500)
    assert int(found.ids.max()) < teacher.known
    masses = np.exp(found.logprobs.astype(np.float64)).sum(axis=1) + np.exp(found.tail)
    assert masses == pytest.approx(1, abs=5e-3)


def test_float16_weights_are_trained_in_float32_or_bfloat16(tmp_path: Path):
    # T17: T5 overflows in float16, in which its weights may be stored.
    folder = tiny.save(tiny.encoder_decoder(), tmp_path / "t5")
    weights = load_file(folder / "model.safetensors")
    half = {name: value.half() for name, value in weights.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = seq2seq.load(folder)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    _, plain = gradients(course(loaded, some(loaded, 4), {"outputs": {}}))
    _, low = gradients(course(loaded, some(loaded, 4), {"outputs": {}}, precision="BFloat16"))
    name = "decoder.block.0.layer.0.SelfAttention.q.weight"
    assert low[name].dtype == torch.float32
    flat = (low[name].flatten(), plain[name].flatten())
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


def test_a_cut_student_has_the_teacher_s_blocks_and_its_table_of_distances():
    teacher = tiny.encoder_decoder(4)
    student = seq2seq.cut(teacher, FromTeacher(keep_layers=[1, 3]))
    own, theirs = student.model.state_dict(), teacher.model.state_dict()
    name = "decoder.block.{}.layer.1.EncDecAttention.q.weight"
    assert torch.equal(own[name.format(1)], theirs[name.format(3)])
    table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    assert torch.equal(own[table], theirs[table])
    whole = seq2seq.cut(teacher, FromTeacher(keep_layers=[0, 1, 2, 3]))
    ids = torch.tensor([[9, 10, 2]])
    with torch.no_grad():
        torch.testing.assert_close(
            whole.states(ids, torch.ones_like(ids), ids),
            teacher.states(ids, torch.ones_like(ids), ids),
        )
    with pytest.raises(BadInput, match="names layer 4, and the teacher's encoder and decoder have"):
        seq2seq.cut(teacher, FromTeacher(keep_layers=[4]))


def test_what_is_written_does_not_depend_on_its_neighbours():
    model = tiny.encoder_decoder()
    sampling = Sampling(temperature=1, max_tokens=6)
    asked = [answers.Ask((("user", f"a{n} d1"),), n) for n in range(4)]
    together = LocalSeq2Seq(model, sampling, 4).answer(asked)
    alone = LocalSeq2Seq(model, sampling, 1).answer(asked)
    assert [one.text for one in together] == [one.text for one in alone]
    assert len({one.text for one in together}) > 1


def test_a_text_is_answered_whole_or_not_at_all():
    model = tiny.encoder_decoder()
    asked = [answers.Ask((("user", "a1" + " b2" * more),)) for more in (2, 30)]
    sampling = Sampling(temperature=0, max_tokens=6)
    whole = LocalSeq2Seq(model, sampling, 2).answer(asked)
    limited = LocalSeq2Seq(model, sampling, 2, whole[0].prompt_tokens).answer(asked)
    assert (limited[0].text, limited[0].flaw) == (whole[0].text, whole[0].flaw)
    assert limited[1].flaw is answers.Flaw.TOO_LONG


def test_a_decoder_alone_is_refused_as_an_encoder_decoder(tmp_path: Path):
    folder = tiny.save(tiny.decoder(1), tmp_path / "causal")
    with pytest.raises(BadInput, match=r"set student\.architecture to Causal"):
        seq2seq.load(folder)
    assert not seq2seq.is_one(folder)
