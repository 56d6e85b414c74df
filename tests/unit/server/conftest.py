"""Tiny models in folders as they are published, and real servers on loopback around them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
import tiny_models
import tiny_rankers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize
from servers import Running, Start

WIDTH = 24
QUERY_PROMPT = "a0 a1 "


@pytest.fixture(scope="session")
def _graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(_graphs: Path) -> Iterator[None]:
    """Export graphs into a folder of this session; other folders' tests keep the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(_graphs))
        yield


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a student with a linear layer before its normalising, and prompts."""
    folder = tmp_path_factory.mktemp("student")
    teacher = tiny_models.teacher()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = Dense(32, WIDTH, bias=False, activation_function=None)
    modules = [*list(teacher)[:2], dense, Normalize()]
    prompts = {"query": QUERY_PROMPT, "document": ""}
    made = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    made.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a plain cross-encoder of transformers."""
    folder = tmp_path_factory.mktemp("reranker")
    tiny_rankers.write_plain(folder)
    return folder


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start servers that end with the module's tests."""
    with servers.starting() as begin:
        yield begin


@pytest.fixture(scope="module")
def server(start: Start, student: Path) -> Running:
    """Serve the student on ONNX Runtime with limits of latency."""
    return start(student, latency_limits_ms="150,120.5", arm="student")
