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
import writing
from devcluster import Cluster
from moving import HOSTNAME, NAME, Models, Scene
from operators import Operator, eventually
from writing import Writers

pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow]
STEPS: Final = [{"weight": w, "minSoakSeconds": 3, "minRequests": 15} for w in (30, 100)]
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


def vllm(image: str, **more: Any) -> dict[str, Any]:
    """Return an arm that fits beside another one on two processors."""
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    return {
        "deployment": {
            "runtime": "VLLM",
            "image": image,
            "args": ["--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "4"],
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
        teacher=vllm(image, model={"uri": writers.teacher, "plainHttp": True}),
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


def _counted(status: dict[str, Any], name: str) -> int:
    """Return how many of the student's requests, or pairs, a metric was judged by."""
    found = {metric["name"]: metric for metric in status.get("metrics", [])}
    counted: int = found.get(name, {}).get("student", {}).get("count", 0)
    return counted
