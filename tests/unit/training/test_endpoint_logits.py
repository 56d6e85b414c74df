"""Logits of a teacher behind a server: the cache of a local one, or a sentence instead."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_causal
from distill_api.names import Stage
from distill_api.student import FromTeacher
from distill_api.teacher import Endpoint, Sampling
from distill_trainer.components.generator import evaluate
from distill_trainer.errors import BadInput
from distill_trainer.labelling import asking
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers.answers import Ask
from distill_trainer.teachers.chat_endpoint import ChatEndpoint
from distill_trainer.teachers.endpoint import Budget
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.texts import conversation
from http_faults import Answer, Call, Server, serving
from pyarrow import parquet
from stage_jobs import STAGES, Job, generating_job

ROWS = tiny_causal.rows(3)
SAMPLING = {"temperature": 0, "maxTokens": 8, "topLogprobs": 4}


class Served:
    """Answers as vLLM does, by a tiny teacher: tokens by their number, if it is asked to."""

    def __init__(self, teacher: Causal) -> None:
        self.teacher = teacher
        self.numbers = True
        self.most = 20

    def __call__(self, call: Call) -> Answer:
        asked = json.loads(call.body)
        count = asked.get("top_logprobs", 0)
        if count > self.most:
            refusal = {"error": {"message": f"Requested sample logprobs of {count}, which is"
                                 f" greater than max allowed: {self.most}"}}  # fmt: skip
            return Answer(400, json.dumps(refusal).encode())
        sampling = Sampling(temperature=0, max_tokens=asked["max_tokens"], top_logprobs=count)
        chat = tuple((one["role"], one["content"]) for one in asked["messages"])
        (found,) = LocalGenerator(self.teacher, sampling, 1).answer([Ask(chat)])
        assert found.ids is not None
        cached = found.distributions
        rows = [
            {"token": self.name(number), "top_logprobs": [
                {"token": self.name(one), "logprob": float(value)}
                for one, value in zip(top, values, strict=True)]}
            for number, top, values in zip(found.ids, cached.ids, cached.logprobs, strict=True)
        ] if cached else []  # fmt: skip
        body = {
            "choices": [
                {
                    "message": {"content": found.text},
                    "finish_reason": "stop" if found.ids[-1] in self.teacher.ends else "length",
                    "logprobs": {"content": rows},
                }
            ],
            "usage": {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.tokens},
        }
        return Answer(200, json.dumps(body).encode())

    def name(self, number: Any) -> str:
        return f"token_id:{number}" if self.numbers else self.teacher.tokenizer.decode([number])


@pytest.fixture
def local(tmp_path: Path) -> Job:
    job = generating_job(tmp_path)
    job.spec["teacher"]["sampling"] = dict(SAMPLING)
    job.spec["training"] |= {"maxSteps": 4}
    return job


@pytest.fixture
def served(local: Job, tmp_path: Path) -> Iterator[tuple[Served, Server]]:
    answers = Served(causal.load(tmp_path / "teacher"))
    with serving(answers) as server:
        yield answers, server


@pytest.fixture
def job(local: Job, served: tuple[Served, Server], tmp_path: Path) -> Job:
    """Make a job of the same records whose teacher is behind the server."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    causal.save(causal.cut(causal.load(teacher), FromTeacher(keep_layers=[0, 3])), student)
    job = Job(tmp_path / "asks", teacher)
    job.spec = copy.deepcopy(local.spec)
    endpoint = {
        "url": f"{served[1].url}/v1",
        "model": "m",
        "tokenizer": {"uri": f"file://{teacher}"},
    }
    job.spec["teacher"] = {"endpoint": endpoint, "sampling": dict(SAMPLING)}
    job.spec["student"] = {"model": {"uri": f"file://{student}"}}
    return job


def cache(job: Job) -> pa.Table:
    """Return the labels' answers with their distributions."""
    folder = job.output(Stage.LABEL)
    return pa.concat_tables([parquet.read_table(path) for path in sorted(folder.glob("shards/*"))])


def test_the_cache_of_a_server_is_that_of_its_weights_and_is_learnt_from(local: Job, job: Job):
    for one in (local, job):
        one.run(Stage.LABEL)
    ours, theirs = cache(job), cache(local)
    for name in ("question", "answer", "flaw", "token_ids", "top_ids"):
        assert ours[name].to_pylist() == theirs[name].to_pylist(), name
    for name, most in (("top_logprobs", 1e-3), ("tail", 2e-2)):
        found, expected = (
            np.exp(np.concatenate(table[name].to_pylist()).astype(np.float32))
            for table in (ours, theirs)
        )
        np.testing.assert_allclose(found, expected, atol=most)
    told = json.loads((job.output(Stage.LABEL) / "label.json").read_text())
    assert told["tokenizer"] == json.loads(
        (local.output(Stage.LABEL) / "label.json").read_text()
    )["tokenizer"]  # fmt: skip
    assert told["topLogprobs"] == {"asked": 4, "stored": 4}
    job.run(Stage.PREPARE)
    report, _ = job.run(Stage.TRAIN)
    assert report.outcome == "Done"


def test_a_server_that_gives_fewer_is_asked_for_fewer(job: Job, served: tuple[Served, Server]):
    job.spec["teacher"]["sampling"]["topLogprobs"] = 30
    report, _ = job.run(Stage.LABEL)
    assert report.facts["topLogprobsStored"] == "20"
    assert json.loads(served[1].calls[-1].body)["top_logprobs"] == 20


def test_a_server_is_timed_by_the_tokens_that_it_wrote(served: tuple[Served, Server]):
    teacher, server = served
    settings = Sampling(temperature=0, max_tokens=500)
    endpoint = Endpoint(url=f"{server.url}/v1", model="m")
    asked = [conversation.chat(one["query"], one["context"], settings) for one in ROWS]
    texts = [json.dumps([(one["role"], one["content"]) for one in chat]) for chat in asked]
    model = ChatEndpoint(endpoint, None, settings, Budget(None))
    written = evaluate._writer(model, teacher.teacher.tokenizer)(texts)
    model.close()
    short = settings.model_copy(update={"max_tokens": evaluate.SPEED_TOKENS})
    local = LocalGenerator(teacher.teacher, short, 1)
    alone = local.answer([Ask(tuple((m["role"], m["content"]) for m in chat)) for chat in asked])
    assert written == sum(one.tokens for one in alone) < evaluate.SPEED_TOKENS * len(ROWS)
    assert {json.loads(call.body)["max_tokens"] for call in server.calls} == {evaluate.SPEED_TOKENS}


def test_a_served_teacher_is_measured_beside_its_student(job: Job):
    for stage in STAGES:
        report, _ = job.run(stage)
    assert report.evaluation is not None
    assert {score.measure for score in report.evaluation.scores} == {"ROUGE-L", "TokenF1"}
    assert float(report.evaluation.teacher.items_per_second) > 0


def other_student(job: Job, _: Served) -> None:
    words = tiny_causal.WORDS
    folder = job.root / "other"
    causal.save(tiny_causal.model(words=words[::-1]), folder)
    job.spec["student"] = {"model": {"uri": f"file://{folder}"}}


def other_tokenizer(job: Job, _: Served) -> None:
    folder = job.root / "other"
    causal.save(tiny_causal.model(words=tiny_causal.WORDS[::-1]), folder)
    job.spec["teacher"]["endpoint"]["tokenizer"] = {"uri": f"file://{folder}"}
    job.spec["student"] = {"model": {"uri": f"file://{folder}"}}


def no_tokenizer(job: Job, _: Served) -> None:
    folder = job.root / "empty"
    folder.mkdir()
    (folder / "readme.md").write_text("nothing")
    job.spec["teacher"]["endpoint"]["tokenizer"] = {"uri": f"file://{folder}"}


def texts_alone(_: Job, served: Served) -> None:
    served.numbers = False


REFUSED = {
    "a student of another tokenizer": (other_student, "The tokenizers differ", 0),
    "a tokenizer that is not the server's": (
        other_tokenizer, r"teacher\.endpoint\.tokenizer is not the tokenizer of the teacher", 8),
    "a folder without one": (no_tokenizer, r"teacher\.endpoint\.tokenizer\.uri .* has no", 0),
    "a server that names tokens by text": (texts_alone, "return_tokens_as_token_ids", 8),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_learnt_from_is_refused_before_the_work(
    job: Job, served: tuple[Served, Server], why: str
):
    spoil: Callable[[Job, Served], None]
    spoil, sentence, most = REFUSED[why]
    spoil(job, served[0])
    with pytest.raises(BadInput, match=sentence):
        job.run(Stage.LABEL)
    # Those that were under way beside the first one.
    assert len(served[1].calls) <= most + 8 * bool(most)
    assert len(served[1].calls) < asking.SIZE
