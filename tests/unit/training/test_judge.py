"""A judge behind a server: asked for as many answers at once as it may be, and for none in vain."""

import json
import threading
from pathlib import Path

import pytest
from distill_api.names import Stage
from distill_api.outcome import Measure
from distill_trainer.components.generator import judge
from distill_trainer.errors import BadInput
from distill_trainer.measures.answering import Asked
from distill_trainer.measures.contest import Pair
from http_faults import Answer, Call, serving
from stage_jobs import Job

ASKED = [Asked(f"q{n}?", f"c{n}", "It is. It was.", from_data=True) for n in range(4)]
TEXTS = Pair(["Yes. No."] * 4, ["Yes."] * 4)
TOGETHER = 2


class Judge:
    """Judges when two have asked at once; half of an answer's statements are supported."""

    def __init__(self) -> None:
        self.together = threading.Barrier(TOGETHER, timeout=20)

    def __call__(self, call: Call) -> Answer:
        self.together.wait()
        prompt = json.loads(call.body)["messages"][0]["content"]
        if "Statements:" in prompt:
            count = prompt.partition("Statements:")[2].count(". ")
            told: dict[str, list[object]] = {"verdicts": [1, 0, 0, 0][:count]}
        else:
            sentences = prompt.partition("Answer: ")[2].split(". ")
            told = {"statements": [f"It said {one}" for one in sentences]}
        body = {"choices": [{"message": {"content": json.dumps(told)}, "finish_reason": "stop"}]}
        return Answer(200, json.dumps(body).encode())


def a_job(tmp_path: Path, url: str, **endpoint: object) -> Job:
    told = {"endpoint": {"url": f"{url}/v1", "model": "j", "maxConcurrency": TOGETHER, **endpoint}}
    job = Job(tmp_path, tmp_path, component="Generator")
    job.spec["recipe"] = {"generator": {"outputs": {}}}
    job.spec["evaluation"] = {"judge": told}
    return job


def test_questions_are_judged_side_by_side_and_references_once(tmp_path: Path):
    with serving(Judge()) as server:
        context = a_job(tmp_path, server.url).context(Stage.EVALUATE)
        wanted = [Measure.FAITHFULNESS, Measure.CONTEXT_RECALL]
        found = judge.values(context, wanted, ASKED, TEXTS)
    assert found["Faithfulness"].student.tolist() == [0.5] * 4
    assert found["Faithfulness"].teacher.tolist() == [1.0] * 4
    assert found["ContextRecall"].student.tolist() == [0.5] * 4
    assert found["ContextRecall"].teacher.tolist() == [0.5] * 4
    # Two for each answer's faithfulness, one for each reference.
    assert len(server.calls) == 2 * 8 + 4


def test_a_judge_that_is_not_there_is_named_and_its_budget_its_own(tmp_path: Path):
    with serving(lambda _: Answer(404)) as server:
        context = a_job(tmp_path, server.url).context(Stage.EVALUATE)
        with pytest.raises(BadInput, match=r"^The judge at .* evaluation\.judge\.endpoint\.url"):
            judge.values(context, [Measure.FAITHFULNESS], ASKED, TEXTS)
    with serving(Judge()) as server:
        context = a_job(tmp_path, server.url, tokenBudget=10).context(Stage.EVALUATE)
        told = r"^The judge's server tells no usage .* evaluation\.judge\.endpoint\.tokenBudget"
        with pytest.raises(BadInput, match=told):
            judge.values(context, [Measure.FAITHFULNESS], ASKED, TEXTS)
