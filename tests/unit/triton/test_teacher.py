"""A real Triton as the teacher: its embeddings and scores are labels."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from distill_api.teacher import Endpoint, EndpointProtocol, Prompts
from distill_trainer.errors import BadInput
from distill_trainer.teachers.endpoint import Budget, Server
from distill_trainer.teachers.open_inference import OpenInferenceScorer, OpenInferenceTeacher
from sentence_transformers import CrossEncoder, SentenceTransformer
from triton_students import Serve, published

pytestmark = pytest.mark.slow
TEXTS = ["a0 b1 c2", "d3", "e4 f5 g6 h7 a8", "b2"]


def endpoint(url: str, **changes: object) -> Endpoint:
    fixed = {"protocol": EndpointProtocol.TRITON, "url": url, "model": "student"}
    return Endpoint(**{**fixed, **changes})  # type: ignore[arg-type]


def test_texts_are_embedded_in_batches(student: Path, serve: Serve, tmp_path: Path) -> None:
    models = published(student, tmp_path)
    triton = serve(models / "triton")
    with closing(_teacher(triton.url)) as teacher:
        found = teacher.embed(TEXTS, prompt="")
    wanted = SentenceTransformer(str(models), device="cpu").encode(TEXTS, prompt_name="document")
    assert (found.vectors * wanted).sum(axis=1).min() > 0.98
    for changes, said in (
        ({"model": "other"}, "Request for unknown model: 'other'"),
        ({"dimension": 8}, "width 32 instead of dimension 8"),
    ):
        with (
            closing(_teacher(triton.url, **changes)) as bad,
            pytest.raises(BadInput, match=said),
        ):
            bad.embed(TEXTS, prompt="")
    said = "its inputs for texts are text, and query, documents would be given"
    with closing(_scorer(triton.url)) as scorer, pytest.raises(BadInput, match=said):
        scorer.score([("a0", "b1")])
    triton.stop()


def _teacher(url: str, **changes: object) -> OpenInferenceTeacher:
    return OpenInferenceTeacher(endpoint(url, **changes), None, 3, Budget(None))


def _scorer(url: str) -> OpenInferenceScorer:
    return OpenInferenceScorer(Server(endpoint(url), None, Budget(None)), Prompts(), 3)


def test_pairs_are_scored_by_query(reranker: Path, serve: Serve, tmp_path: Path) -> None:
    models = published(reranker, tmp_path)
    triton = serve(models / "triton")
    pairs = [(query, text) for query in ("a0 b1", "c2") for text in TEXTS]
    with closing(_scorer(triton.url)) as scorer:
        found = scorer.score(pairs)
    wanted = CrossEncoder(str(models), device="cpu").predict(pairs)
    np.testing.assert_allclose(found.scores, wanted, atol=1e-5)
    triton.stop()
