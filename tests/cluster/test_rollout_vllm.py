"""A quantised generator takes its teacher's place on real vLLM servers behind a real gateway."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import images
import moving
import openai
import pytest
import torch
import writing
from devcluster import Cluster
from distill_trainer.students import causal
from moving import HOSTNAME, NAME, Models, Scene
from operators import Operator, eventually
from peft import PeftModel
from writing import Writers

pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow]
STEPS: Final = [{"weight": w, "minSoakSeconds": 3, "minRequests": 15} for w in (30, 100)]
ADAPTER: Final = "sums"
"""Name under which the teacher's adapter is served."""
TOKENS: Final = 12
SMALL_SERVER: Final = ("--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "4")
METRICS: Final = [
    {"name": "errors", "errors": {"fine": 0.01, "warn": 0.01, "limit": 0.3}},
    {
        "name": "first-token",
        "critical": False,
        "onRegression": "Warn",
        "latency": {"signal": "TimeToFirstToken", "limitMilliseconds": 10_000},
    },
    {
        "name": "answers",
        "critical": False,
        "onRegression": "Warn",
        "quality": {"measure": "TokenF1"},
    },
]


@pytest.fixture(scope="module")
def writers(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Writers:
    return writing.push(cluster.registry, tmp_path_factory.mktemp("writers"))


@pytest.fixture(scope="module")
def models(writers: Writers) -> Models:
    return Models(writers.teacher, writers.student)


def vllm(image: str, *arguments: str, **more: Any) -> dict[str, Any]:
    """Return an arm that fits beside another one on two processors."""
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    return {
        "deployment": {
            "runtime": "VLLM",
            "image": image,
            "args": [
                "--enforce-eager",
                "--max-model-len",
                "512",
                "--max-num-seqs",
                "4",
                *arguments,
            ],
            "resources": {
                "requests": {"cpu": "20m", "memory": "1Gi"},
                "limits": {"memory": "5Gi"},
            },
            "drainSeconds": 3,
            "podTemplate": {"env": [{"name": name, "value": value} for name, value in env.items()]},
            **more,
        }
    }


@dataclass
class Talk:
    """What users were told by an OpenAI client, and what went wrong."""

    answers: list[str] = field(default_factory=list)
    problems: list[Exception] = field(default_factory=list)


@contextmanager
def talking(scene: Scene) -> Iterator[Talk]:
    """Ask one question after the other until the block ends."""
    client = openai.OpenAI(
        base_url=f"{scene.gateway.url}/v1",
        api_key="none",
        default_headers={"Host": HOSTNAME},
        max_retries=0,
        timeout=60,
    )
    talk, ended = Talk(), threading.Event()

    def ask() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                talk.answers.append(_answer(client, f"What is {number}?"))
            except openai.OpenAIError as problem:
                talk.problems.append(problem)

    user = threading.Thread(target=ask)
    user.start()
    try:
        yield talk
    finally:
        ended.set()
        user.join()


def _answer(client: openai.OpenAI, question: str) -> str:
    said = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": question}], max_tokens=3, temperature=0
    )
    return said.choices[0].message.content or ""


def _answers(scene: Scene) -> bool:
    with talking(scene) as talk:
        eventually(lambda: talk.answers or talk.problems, "an answer or none", within=90)
    return bool(talk.answers)


def test_a_quantised_generator_is_promoted_on_vllms_own_numbers(
    cluster: Cluster, scene: Scene, serving_operator: Operator, writers: Writers
) -> None:
    image = images.image(cluster, "vllm")
    scene.roll_out(
        component="Generator",
        # In the adapter's own type, so that no rounding decides between two words.
        teacher=vllm(
            *(image, "--dtype", "float32"),
            model={"uri": writers.teacher, "plainHttp": True},
            loraAdapters=[{"name": ADAPTER, "model": {"uri": writers.adapter, "plainHttp": True}}],
        ),
        student=vllm(image),
        schedule={"steps": STEPS, "minReadySeconds": 1, "crashLoopGraceSeconds": 600},
        metrics=METRICS,
        prober={
            "queries": {"uri": writers.questions, "plainHttp": True},
            "queriesPerMinute": 60,
            "timeoutSeconds": 60,
            "generation": {"maxTokens": 3},
            "resources": moving.SMALL,
        },
    )
    eventually(lambda: _answers(scene), "an answer through the gateway", within=600)
    with talking(scene) as talk:
        scene("wait", f"drollout/{NAME}", "--for=condition=Promoted", "--timeout=400s")
        status = scene.reaches("pairs", lambda found: _counted(found, "answers") > 0)
    assert len(talk.answers) > 30
    assert talk.problems == []
    tokens = next(one for one in status["conditions"] if one["type"] == "TokensAlike")
    assert (tokens["status"], "reads 17 texts" in tokens["message"]) == ("True", True), tokens
    for metric in ("errors", "first-token"):
        assert _counted(status, metric) >= 15, status["metrics"]
    assert scene.weights() == [1, 999]
    _serves_an_adapter_of_a_job(scene, writers)


def _counted(status: dict[str, Any], name: str) -> int:
    """Return how many of the student's requests, or pairs, a metric was judged by."""
    found = {metric["name"]: metric for metric in status.get("metrics", [])}
    counted: int = found.get(name, {}).get("student", {}).get("count", 0)
    return counted


def _serves_an_adapter_of_a_job(scene: Scene, writers: Writers) -> None:
    """Ask for the base and for its adapter: each answers as PyTorch computes it."""
    address = scene.get("pod", scene.pod("teacher"))["status"]["podIP"]
    client = openai.OpenAI(base_url=f"http://{address}:8000/v1", api_key="none", timeout=60)
    assert {NAME, ADAPTER} <= {model.id for model in client.models.list()}
    for question in ("What is 3 and 3?", "How is a kettle descaled?"):
        expected = _computed(writers, question)
        assert expected[NAME] != expected[ADAPTER], "the adapter changes nothing"
        for name, answer in expected.items():
            said = client.completions.create(
                model=name, prompt=question, max_tokens=TOKENS, temperature=0
            )
            assert said.choices[0].text == answer, name


def _computed(writers: Writers, question: str) -> dict[str, str]:
    """Return what PyTorch writes after a question, by model: each time the likeliest token."""
    base = causal.load(writers.folder / "teacher")
    model, tokenizer = base.model, base.tokenizer
    ids = tokenizer(question, return_tensors="pt")["input_ids"]

    def written(of: torch.nn.Module) -> str:
        tokens = of.generate(input_ids=ids, max_new_tokens=TOKENS, do_sample=False)
        found: str = tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)
        return found

    # The base first: PEFT puts its layers into the model.
    own = written(model)
    return {
        NAME: own,
        ADAPTER: written(PeftModel.from_pretrained(model, str(writers.folder / "adapter"))),
    }
