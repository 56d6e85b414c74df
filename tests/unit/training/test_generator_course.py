"""A generating student's gradients: whatever the split, the padding, the vocabulary's size."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_causal
import torch
from distill_api.recipe import Divergence
from distill_api.student import FromTeacher
from distill_trainer.errors import BadInput
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import answers, local_generator
from distill_trainer.teachers.answers import Distributions, Flaw
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.texts import conversation
from distill_trainer.training import causal_pass, generating, sequences
from distill_trainer.training.causal_pass import Wanted
from tiny_courses import CPU, SAMPLING, course, gradients, some
from torch import nn

RECIPES: list[dict[str, object]] = [
    {"outputs": {"labelSmoothing": 0.1}},
    *({"logits": {"temperature": 2, "divergence": kind.value}} for kind in Divergence),
    {"hiddenStates": {}, "attentions": {"weight": 0.5}, "logits": {}},
]


SPLITS: list[dict[str, object]] = [
    *({"microBatchSize": rows} for rows in (1, 2, 4, 8)),
    *({"packing": True, "microBatchSize": rows} for rows in (2, 5, 9)),
]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_any_split_of_a_step_gives_the_same_gradient(recipe: dict[str, object], kind: torch.dtype):
    # T1, T2, T3, T24: a sum over target tokens, divided by those of the whole step.
    teacher = tiny_causal.model()
    student = tiny_causal.model(layers=2, seed=1)
    inside = teacher if "hiddenStates" in recipe else None
    examples = some(student, 9, None if inside else teacher)
    for one in (student, teacher):
        one.model.to(kind)
    expected = gradients(course(recipe, examples, student, inside))
    # What is left in float32 is the order of its sums; in float64 nothing is left.
    # (Of the losses inside, RMSNorm and eager attention compute in float32 whatever the model is.)
    most = 1e-6 if kind is torch.float32 or inside else 1e-12
    for split in SPLITS:
        found = gradients(course(recipe, examples, student, inside, **split))
        assert found[0] == pytest.approx(expected[0], rel=1e-6)
        assert found[1].keys() == expected[1].keys()
        for name, gradient in found[1].items():
            torch.testing.assert_close(gradient, expected[1][name], rtol=0, atol=most)
    assert max(float(one.abs().max()) for one in expected[1].values()) > 0.1


def test_the_loss_is_the_mean_over_target_tokens_alone():
    # By the model's own loss, whose labels leave out prompt and padding.
    student = tiny_causal.model(layers=2)
    examples = some(student, 5)
    batch = sequences.pad(examples, student.tokenizer.pad_token_id, CPU)
    labels = torch.full_like(batch.ids, -100)
    for row, one in enumerate(examples):
        labels[row, len(one.prompt) : len(one)] = torch.from_numpy(one.target)
    theirs = student.model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
    found = course({"outputs": {}}, examples, student).learn(0)
    assert found.loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    assert found.examples == int((labels[:, 1:] != -100).sum())


def test_the_end_is_learnt_though_it_also_pads():
    # T22: masked by place, not by the token's id.
    student = tiny_causal.model(layers=2)
    assert student.tokenizer.pad_token_id == student.tokenizer.eos_token_id
    examples = some(student, 3)
    batch = sequences.pad(examples, student.tokenizer.pad_token_id, CPU)
    ends = np.cumsum([len(one.target) for one in examples]) - 1
    assert batch.labels[ends].tolist() == [student.tokenizer.eos_token_id] * 3
    assert int(batch.learnt.sum()) == len(batch.labels)


def test_cached_distributions_teach_as_the_teacher_itself_up_to_the_tail():
    teacher, student = tiny_causal.model(), tiny_causal.model(layers=2, seed=1)
    recipe: dict[str, object] = {"logits": {"temperature": 1, "alpha": 1}}
    whole = [
        replace(one, cached=_everything(teacher, one.prompt.tolist(), one.target.tolist()))
        for one in some(student, 6)
    ]
    offline = gradients(course(recipe, whole, student))
    online = gradients(course(recipe, some(student, 6), student, teacher))
    # All tokens are cached; what is left is float16.
    assert offline[0] == pytest.approx(online[0], rel=2e-3)
    top = gradients(course(recipe, some(student, 6, teacher), student))
    assert top[0] <= online[0] + 1e-3
    assert top[0] > 0.5 * online[0]


def _everything(teacher: Causal, prompt: list[int], target: list[int]) -> Distributions:
    return local_generator.top_k(teacher, [prompt], [target], 500)[0]


def test_padded_heads_of_unequal_size_are_cut_to_what_both_know():
    # T4: Qwen2.5's heads have 151936 and 152064 rows for one tokenizer.
    teacher, student = tiny_causal.model(padded=8), tiny_causal.model(layers=2, padded=2)
    with torch.no_grad():
        teacher.model.get_output_embeddings().weight[-8:] = 100.0
    made = course({"logits": {}}, some(student, 4), student, teacher)
    loss, found = gradients(made)
    assert math.isfinite(loss)
    assert all(bool(one.isfinite().all()) for one in found.values())


def test_the_teacher_stays_as_it_is():
    # T27: evaluation mode at each step, no gradient.
    teacher, student = tiny_causal.model(), tiny_causal.model(layers=2)
    made = course({"logits": {}}, some(student, 4), student, teacher)
    teacher.model.train()
    made.learn(0)
    assert not teacher.model.training
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_weights_stay_in_float32_under_bfloat16(tmp_path: object):
    # T6: loaded from bfloat16, trained under autocast, kept in float32.
    student = tiny_causal.model(layers=2)
    student.model.to(torch.bfloat16)
    causal.save(student, tmp_path)  # type: ignore[arg-type]
    loaded = causal.load(tmp_path)  # type: ignore[arg-type]
    made = course({"outputs": {}}, some(loaded, 4), loaded, precision="BFloat16")
    _, found = gradients(made)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert {one.dtype for one in found.values()} == {torch.float32}
    plain = gradients(course({"outputs": {}}, some(loaded, 4), loaded))[1]
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.nn.functional.cosine_similarity(
        found[name].flatten(), plain[name].flatten(), dim=0
    ) > 0.99  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 8.0}),
    ],
)
def test_caps_and_scales_of_logits_are_applied(kind: str, config: dict[str, object]):
    # T25: a distribution without them is another one.
    model = tiny_causal.model(kind, layers=2, **config)
    ids = torch.tensor([[1, 4, 9, 12]])
    with torch.no_grad():
        own = model.model(input_ids=ids).logits
        ours = model.logits(model.body(input_ids=ids).last_hidden_state)
        plain = model.model.get_output_embeddings()(model.body(input_ids=ids).last_hidden_state)
    torch.testing.assert_close(ours, own)
    assert not torch.allclose(plain, own, atol=1e-3)


def test_cut_layers_are_the_teachers_and_widths_are_refused():
    teacher = tiny_causal.model()
    student = causal.cut(teacher, FromTeacher(keep_layers=[1, 3]))
    own = student.model.base_model.layers[1].mlp.up_proj.weight
    assert torch.equal(own, teacher.model.base_model.layers[3].mlp.up_proj.weight)
    assert student.model.generation_config.eos_token_id == teacher.tokenizer.eos_token_id
    with pytest.raises(BadInput, match="keep fewer layers"):
        causal.cut(teacher, FromTeacher(keep_layers=[0], hidden_size=16))
    with pytest.raises(BadInput, match="names layer 4, and the teacher has 4 layers"):
        causal.cut(teacher, FromTeacher(keep_layers=[4]))


def test_an_answer_does_not_depend_on_its_neighbours_or_on_chance_elsewhere():
    teacher = tiny_causal.model()
    sampling = conversation.Sampling(temperature=1, top_p=0.9, max_tokens=6)
    asked = [answers.ask("a1 ?", "a1 b2", sampling, number) for number in range(4)]
    together = LocalGenerator(teacher, sampling, 4).answer(asked)
    torch.manual_seed(99)
    alone = LocalGenerator(teacher, sampling, 1).answer(asked)
    assert [one.text for one in together] == [one.text for one in alone]
    assert len({one.text for one in together}) > 1


def test_a_batch_tells_of_its_tokens_while_it_is_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local_generator, "TELL_SECONDS", 0.0)
    teacher = tiny_causal.model()
    sampling = conversation.Sampling(temperature=1, max_tokens=12)
    asked = [answers.ask("a1 ?", "a1 b2", sampling, number) for number in range(4)]
    told: list[tuple[int, int]] = []
    found = LocalGenerator(teacher, sampling, 4).answer(
        asked, lambda count, tokens: told.append((count, tokens))
    )
    written, read = sum(one.tokens for one in found), sum(one.prompt_tokens for one in found)
    assert len({one.tokens for one in found}) > 1, "some end before others"
    assert told[-1] == (4, read)
    assert all(count == 0 for count, _ in told[:-1])
    assert sum(tokens for _, tokens in told[:-1]) == written

    def stop(answered: int, _: int) -> None:
        assert answered == 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalGenerator(teacher, sampling, 4).answer(asked, stop)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_beyond_the_positions_is_a_flaw_and_leaves_its_neighbours_alone(kind: str):
    teacher = tiny_causal.model(kind, max_position_embeddings=48)
    sampling = conversation.Sampling(temperature=1, max_tokens=16, top_logprobs=3)
    long = [answers.ask("a1 ?", "a1 b2" + " c3" * more, sampling, more) for more in (0, 9, 60, 12)]
    found = LocalGenerator(teacher, sampling, 4).answer(long)
    assert [one.flaw is Flaw.TOO_LONG for one in found] == [False, False, True, False]
    for asked, one in zip(long, found, strict=True):
        prompt = conversation.prompt_ids(teacher.tokenizer, asked.chat)
        assert one.prompt_tokens == len(prompt)
        assert one.tokens <= max(min(16, 48 - len(prompt)), 0)
        (alone,) = LocalGenerator(teacher, sampling, 1).answer([asked])
        assert (one.text, one.flaw) == (alone.text, alone.flaw)
        if one.distributions is not None:
            assert len(one.distributions.ids) == one.tokens


def test_a_prompt_is_answered_whole_or_not_at_all():
    teacher = tiny_causal.model()
    sampling = conversation.Sampling(temperature=0, max_tokens=8)
    asked = [answers.ask("a1 ?", "a1 b2" + " c3" * more, sampling) for more in (0, 30)]
    whole = LocalGenerator(teacher, sampling, 2).answer(asked)
    limited = LocalGenerator(teacher, sampling, 2, whole[0].prompt_tokens).answer(asked)
    assert (limited[0].text, limited[0].flaw) == (whole[0].text, whole[0].flaw)
    assert limited[1].flaw is Flaw.TOO_LONG
    assert limited[1].prompt_tokens == whole[1].prompt_tokens


def test_dropout_of_attention_is_no_part_of_what_is_transferred():
    def taught(dropout: float) -> tuple[float, dict[str, torch.Tensor]]:
        student = tiny_causal.model("gpt2", layers=2, seed=1, attn_pdrop=dropout, embd_pdrop=0.0,
                                    resid_pdrop=0.0)  # fmt: skip
        teacher = tiny_causal.model("gpt2")
        made = course({"attentions": {}}, some(student, 4), student, teacher)
        causal_pass.undimmed(student)
        student.model.train()
        return gradients(made)

    (loss, found), (expected, plain) = taught(0.5), taught(0.0)
    assert loss == expected
    for name, gradient in plain.items():
        assert torch.equal(found[name], gradient), name


def test_a_model_whose_attention_is_told_with_dropout_is_refused():
    student = tiny_causal.model("gpt2", layers=1, attn_pdrop=0.5)
    student.model.set_attn_implementation("eager")

    attention = student.model.transformer.h[0].attn
    own = attention.forward

    def dimmed(*given: object, **named: object) -> tuple[torch.Tensor, torch.Tensor]:
        out, weights = own(*given, **named)
        return out, nn.functional.dropout(weights, 0.5, attention.training)

    attention.forward = dimmed
    with pytest.raises(BadInput, match="type gpt2 tell no attention that is whole"):
        causal_pass.undimmed(student)


def test_samples_are_of_the_distribution():
    sampling = conversation.Sampling(temperature=0.5)
    scores = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    drawn = local_generator.Drawn([1], sampling)
    counts = torch.bincount(
        torch.stack([drawn(None, scores).argmax() for _ in range(4000)]), minlength=3
    )
    # At temperature 1/2 probabilities are squared: 4, 9 and 25 of 38.
    assert (counts / 4000).tolist() == pytest.approx([4 / 38, 9 / 38, 25 / 38], abs=0.03)


def test_distributions_kept_while_writing_are_those_of_a_pass_over_what_was_written():
    teacher = tiny_causal.model("gemma2", final_logit_softcapping=5.0)
    sampling = conversation.Sampling(temperature=1, max_tokens=10, top_logprobs=7)
    asked = [answers.ask("a1 ?", "a1 b2" + " c3" * more, sampling, more) for more in range(4)]
    found = LocalGenerator(teacher, sampling, 4).answer(asked)
    prompts = [conversation.prompt_ids(teacher.tokenizer, one.chat) for one in asked]
    written = [[] if one.ids is None else one.ids.tolist() for one in found]
    again = local_generator.top_k(teacher, prompts, written, 7)
    for one, expected in zip(found, again, strict=True):
        assert one.distributions is not None
        assert one.distributions.ids.tolist() == expected.ids.tolist()
        for name, most in (("logprobs", 2e-3), ("tail", 1e-5)):
            np.testing.assert_allclose(
                getattr(one.distributions, name), getattr(expected, name), atol=most
            )


def test_the_top_k_of_a_batch_are_those_of_each_alone():
    teacher = tiny_causal.model()
    prompts, written = [[1, 4, 9, 10], [1, 4, 9]], [[12, 2], [13, 14, 15, 2]]
    both = local_generator.top_k(teacher, prompts, written, 5)
    for prompt, own, found in zip(prompts, written, both, strict=True):
        with torch.no_grad():
            logits = teacher.model(input_ids=torch.tensor([prompt + own])).logits
        exact = torch.log_softmax(logits[0, len(prompt) - 1 : -1], dim=-1).topk(5)
        assert np.array_equal(found.ids, exact.indices.numpy())
        assert found.logprobs == pytest.approx(exact.values.numpy(), abs=1e-2)
        masses = np.exp(exact.values.numpy()).sum(1) + np.exp(found.tail)
        assert masses == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "told", "expected"),
    [
        ("Paris.", {}, None),
        ("Paris", {"truncated": True}, Flaw.TRUNCATED),
        ("I'm sorry, but I can't help with that.", {}, Flaw.REFUSED),
        ("As an AI language model, I have no opinion", {}, Flaw.REFUSED),
        ("Paris", {"refused": True}, Flaw.REFUSED),
        ("  ", {}, Flaw.EMPTY),
        ("Paris", {"reasoning": False}, Flaw.NO_REASONING),
        ("I cannot be measured in meters, said the unit.", {}, None),
    ],
)
def test_answers_that_teach_nothing_are_told_by_their_flaw(
    text: str, told: dict[str, bool], expected: Flaw | None
):
    given = {"truncated": False, "refused": False, "reasoning": True} | told
    assert answers.judged(text, **given) is expected


def test_reasoning_is_kept_apart_from_the_answer():
    assert conversation.divide("<think>two and two</think> four") == ("two and two", "four")
    assert conversation.divide("two and two</think>four") == ("two and two", "four")
    assert conversation.divide("four") == (None, "four")
    joined = conversation.whole("two and two", "four")
    assert conversation.divide(joined) == ("two and two", "four")


def test_a_base_model_gets_the_plain_template_and_no_second_beginning():
    known = tiny_causal.tokenizer()
    known.chat_template = None
    conversation.ensure_template(known)
    ids = conversation.prompt_ids(known, conversation.chat("a1", "b2", SAMPLING))
    assert ids.count(known.bos_token_id) == 1
    assert conversation.end_id(known) == known.eos_token_id


def test_projections_learn_where_widths_differ():
    teacher, student = tiny_causal.model(), tiny_causal.model(layers=2, hidden=16, seed=1)
    made = course({"hiddenStates": {}}, some(student, 4), student, teacher)
    projections = nn.ModuleDict({str(n): nn.Linear(16, 32, bias=False) for n in range(2)})
    replace(made, projections=projections).learn(0)
    gradients = [one.grad for one in projections.parameters() if one.grad is not None]
    assert len(gradients) == 2
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_states_that_are_looked_at_are_those_before_target_tokens():
    model = tiny_causal.model(layers=2)
    examples = some(model, 3)
    batch = sequences.pad(examples, model.tokenizer.pad_token_id, CPU)
    seen = causal_pass.look(model, batch, Wanted(layers=[0]))
    assert len(seen.hidden) == len(seen.layers[0]) == len(batch.labels)
    nll = generating.nll_by_row(model, examples)
    alone = torch.cat([generating.nll_by_row(model, [one]) for one in examples])
    torch.testing.assert_close(nll, alone, rtol=1e-4, atol=1e-5)
