"""All stages of a generator, for real, on a tiny teacher that was taught to answer."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import generating_jobs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_causal
import torch
from distill_api.names import Reason, Stage
from distill_api.token_ids import TOKEN_IDS_FILE, TokenIds
from distill_api.wire import Report
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.labelling import asking
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.texts import conversation
from generating_jobs import STAGES
from safetensors.numpy import load_file
from trainer import write_jsonl
from transformers import AutoModelForCausalLM, AutoTokenizer


class Job(generating_jobs.Job):
    """A generator's job, its stages run in this process."""

    def __init__(self, root: Path, teacher: Path, **spec: Any) -> None:
        super().__init__(root)
        data = write_jsonl(root / "data.jsonl", tiny_causal.rows(90))
        self.spec = {
            "component": "Generator",
            "teacher": {
                "model": {"uri": f"file://{teacher}"},
                "batchSize": 16,
                "sampling": {"temperature": 0.3, "maxTokens": 8, "topLogprobs": 16},
            },
            "student": {"fromTeacher": {"keepLayers": [0, 3]}},
            "data": {"source": {"uri": f"file://{data}"}},
            "recipe": {"generator": {"logits": {"temperature": 2, "alpha": 0.7}}},
            "training": {
                "maxSteps": 12,
                "batchSize": 16,
                "checkpointSteps": 5,
                "optimizer": {"learningRate": 3e-3},
            },
            "evaluation": {
                "latencyRequests": 10,
                "throughputBatchSize": 4,
                "bootstrapSamples": 100,
                "gates": [{"measure": "ROUGE-L", "minRetention": 0.0}],
            },
            "publish": [{"pvc": {"claimName": "models"}}],
        } | spec

    def curve(self) -> list[dict[str, Any]]:
        """Return the learning curve of the trained student."""
        text = (self.output(Stage.TRAIN) / "curves.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights of the trained student."""
        return load_file(self.output(Stage.TRAIN) / "student/model.safetensors")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Causal, Path]:
    made = tiny_causal.taught(tiny_causal.model(), 90)
    folder = tmp_path_factory.mktemp("generator")
    causal.save(made, folder)
    return made, folder


Finished = tuple[Job, Mapping[Stage, Report]]


@pytest.fixture(scope="module")
def finished(teacher: tuple[Causal, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    job = Job(tmp_path_factory.mktemp("job"), teacher[1])
    return job, {stage: job.run(stage) for stage in STAGES}


def test_labels_keep_answers_their_flaws_and_the_teachers_distributions(finished: Finished):
    job, reports = finished
    settings = json.loads((job.output(Stage.LABEL) / "label.json").read_text())
    assert settings["usable"] >= 60
    assert settings["usable"] + sum(settings["flaws"].values()) == settings["answers"] == 90
    assert settings["topLogprobs"] == {"asked": 16, "stored": 16}
    table = pq.read_table(job.output(Stage.LABEL) / settings["shards"][0]).to_pylist()
    row = next(row for row in table if row["flaw"] is None)
    assert len(row["top_ids"]) == 16 * len(row["token_ids"])
    masses = np.exp(np.array(row["top_logprobs"]).reshape(-1, 16)).sum(1) + np.exp(row["tail"])
    assert masses == pytest.approx(1, abs=5e-3)
    assert reports[Stage.LABEL].usage.teacher_tokens == settings["tokens"] > 0


def test_nothing_truncated_reaches_training(finished: Finished):
    # T10
    job, _ = finished
    records = pq.read_table(job.output(Stage.PREPARE) / "records.parquet").to_pylist()
    end = tiny_causal.tokenizer().eos_token_id
    assert len(records) >= 60
    assert all(row["token_ids"][-1] == end for row in records)
    card = json.loads((job.output(Stage.PREPARE) / "data_card.json").read_text())
    assert sum(card["records"].values()) == len(records)
    assert card["leakage"] == {"queries": 0, "documents": 0} or card["dropped"]
    assert card["tokens"]["answer"]["p100"] <= 8
    assert card["chat_template"].startswith("sha256:")


def test_the_student_learns(finished: Finished):
    job, reports = finished
    points = job.curve()
    scores = [point["validation"] for point in points if "validation" in point]
    assert max(scores[1:]) > scores[0] + 0.2
    assert {"hard", "divergence", "logits"} <= points[1]["parts"].keys()
    assert reports[Stage.TRAIN].facts["masterWeights"] == "float32"


def test_the_verdict_holds_all_measures_that_need_no_judge(finished: Finished):
    job, reports = finished
    evaluation = reports[Stage.EVALUATE].evaluation
    assert evaluation is not None
    scores = {score.measure: score for score in evaluation.scores}
    assert scores.keys() == {"Likelihood", "ROUGE-L", "TokenF1"}
    assert 0 < float(scores["Likelihood"].teacher) <= 1
    assert float(evaluation.speedup) > 0
    assert evaluation.student_parameters < evaluation.teacher_parameters
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert "tokens per second" in page
    # The section on the data is the one of every component.
    assert "<td>questions</td>" in page
    assert "90 rows, 90 answers of the teacher" in page
    told = json.loads((job.output(Stage.EVALUATE) / "evaluation.json").read_text())
    assert len(told["perQuestion"]["student"]["ROUGE-L"]) == evaluation.queries


def test_what_is_published_loads_answers_and_ends_as_it_was_trained(finished: Finished):
    # T23: one template, one BOS, in training and in what is served.
    job, reports = finished
    folder = next(path.parent for path in (job.root / "volumes/models").rglob("config.json"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = conversation.chat("a1 ?", "a1 b2", conversation.Sampling())
    served = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    ids = served["input_ids"]
    assert ids == conversation.prompt_ids(tokenizer, chat)
    assert ids.count(tokenizer.bos_token_id) == 1
    written = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)
    assert written.shape[1] > len(ids)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    teaching = json.loads((folder / "teaching.json").read_text())
    assert teaching["chatTemplate"] == conversation.template_hash(tokenizer)
    read = TokenIds.model_validate_json((folder / TOKEN_IDS_FILE).read_text())
    chats = [one for one in read.samples if one.messages]
    assert len(chats) == 9
    for one in chats:
        messages = [turn.model_dump() for turn in one.messages or ()]
        assert conversation.prompt_ids(tokenizer, messages) == one.tokens
    card = (folder / "README.md").read_text()
    assert "AutoModelForCausalLM" in card
    assert teaching["chatTemplate"] in card
    assert reports[Stage.PUBLISH].artifact is not None


def test_a_labelling_that_was_ended_goes_on_to_the_same_answers(
    teacher: tuple[Causal, Path], finished: Finished, tmp_path: Path
):
    job = Job(tmp_path, teacher[1])
    with pytest.raises(TryAgain, match="asked to end"):
        job.run(Stage.LABEL, "label", at=70)
    assert len(list(tmp_path.rglob("shards/*.parquet"))) == 1
    job.run(Stage.LABEL)
    whole, again = (one.output(Stage.LABEL) for one in (finished[0], job))
    for shard in asking.plan(90):
        assert pq.read_table(whole / shard.name).equals(pq.read_table(again / shard.name))


def test_a_killed_training_goes_on_to_equal_bits(
    teacher: tuple[Causal, Path], finished: Finished, tmp_path: Path
):
    job = Job(tmp_path, teacher[1])
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    with pytest.raises(TryAgain, match="step 7 of 12"):
        job.run(Stage.TRAIN, "train", at=7)
    job.run(Stage.TRAIN)
    expected, found = finished[0].weights(), job.weights()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def _retrained(finished: Finished, tmp_path: Path, **spec: Any) -> Job:
    """Make a job that trains on another job's prepared answers."""
    job, _ = finished
    other = Job(tmp_path, Path(job.spec["teacher"]["model"]["uri"].removeprefix("file://")))
    other.spec |= spec
    (tmp_path / "workspace").symlink_to(job.root / "workspace")
    return other


@contextmanager
def _kept(job: Job) -> Iterator[None]:
    """Bring the workspace's training back that another one takes the place of."""
    pointers = [job.root / f"workspace/{stage}.json" for stage in ("train", "evaluate")]
    before = [pointer.read_text() for pointer in pointers]
    try:
        yield
    finally:
        for pointer, text in zip(pointers, before, strict=True):
            pointer.write_text(text)


@pytest.mark.parametrize(
    "losses",
    [
        {"outputs": {"labelSmoothing": 0.1}},
        {"hiddenStates": {}, "attentions": {}, "outputs": {"weight": 0.5}},
        {"logits": {"divergence": "JensenShannon", "beta": 0.7, "onPolicy": {"maxTokens": 4}}},
    ],
)
def test_every_loss_trains(finished: Finished, tmp_path: Path, losses: dict[str, Any]):
    spec: dict[str, Any] = {"recipe": {"generator": losses}}
    spec["training"] = {"maxSteps": 2, "batchSize": 8, "microBatchSize": 3, "packing": True}
    job = _retrained(finished, tmp_path, **spec)
    with _kept(finished[0]):
        report = job.run(Stage.TRAIN)
        points = job.curve()
    assert report.facts["steps"] == "2"
    assert losses.keys() <= points[1]["parts"].keys()


def test_another_tokenizer_learns_from_text_and_is_refused_for_logits(
    finished: Finished, tmp_path: Path
):
    # T5: the student's ids would mean other words to the teacher, and the loss would look fine.
    words = [*reversed(tiny_causal.WORDS), "extra"]
    student = tiny_causal.model(layers=2, words=words)
    causal.save(student, tmp_path / "student")
    model = {"model": {"uri": f"file://{tmp_path}/student"}}
    job = _retrained(finished, tmp_path / "job", student=model)
    with pytest.raises(BadInput, match=r"teacher's has 78 tokens, the student's 79") as refused:
        job.run(Stage.TRAIN)
    assert refused.value.reason is Reason.BAD_RECIPE
    # Where nobody has asked the teacher yet, before it answers anything.
    teacher = Path(job.spec["teacher"]["model"]["uri"].removeprefix("file://"))
    fresh = Job(tmp_path / "fresh", teacher, student=model)
    with pytest.raises(BadInput, match="The tokenizers differ"):
        fresh.run(Stage.LABEL)
    assert not list((tmp_path / "fresh").rglob("shards/*"))
    # Learning from the text is fine, comparing the probabilities of other tokens is not.
    by_text = {"recipe": {"generator": {"outputs": {}}}, "student": model}
    gates = {"gates": [{"measure": "Likelihood", "minRetention": 0.5}]}
    gated = Job(tmp_path / "gated", teacher, **by_text, evaluation=gates)
    with pytest.raises(BadInput, match=r"Likelihood, .* student \(79\) and teacher \(78\)"):
        gated.run(Stage.LABEL)
    plain = _retrained(finished, tmp_path / "plain", **by_text)
    with _kept(finished[0]):
        plain.run(Stage.TRAIN)
        report = plain.run(Stage.EVALUATE)
    assert report.evaluation is not None
    assert {score.measure for score in report.evaluation.scores} == {"ROUGE-L", "TokenF1"}


def test_a_head_with_more_padding_than_the_teachers_is_the_same_tokenizer(
    finished: Finished, tmp_path: Path
):
    # T4: Qwen2.5's 7B has 152064 rows and its 0.5B 151936, for 151665 tokens.
    causal.save(tiny_causal.model(layers=2, padded=9), tmp_path / "student")
    model = {"model": {"uri": f"file://{tmp_path}/student"}}
    short = {"maxSteps": 2, "batchSize": 8}
    job = _retrained(finished, tmp_path / "job", student=model, training=short)
    with _kept(finished[0]):
        assert job.run(Stage.TRAIN).facts["steps"] == "2"


def test_a_sweep_keeps_the_generator_that_validates_best(
    teacher: tuple[Causal, Path], tmp_path: Path
):
    parameters = [{"path": "training.optimizer.learningRate", "values": ["1e-9", "0.003"]}]
    job = Job(tmp_path, teacher[1], sweep={"algorithm": "Grid", "parameters": parameters})
    reports = {stage: job.run(stage) for stage in STAGES}
    found = reports[Stage.TRAIN].sweep
    assert found is not None
    assert (found.trials, found.failed) == (2, 0)
    assert [one.value for one in found.leaders[0].parameters] == ["0.003"]
    assert "2 students were trained" in (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert reports[Stage.PUBLISH].artifact is not None
