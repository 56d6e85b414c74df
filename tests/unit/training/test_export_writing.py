"""The export stage of what writes: graphs with a cache that write what the weights write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_causal
import tiny_transforms
import torch
from distill_api.names import Reason, Stage
from distill_common import graphs
from distill_trainer.errors import BadInput
from distill_trainer.exporting import (
    by_weights,
    causal_graph,
    files,
    running,
    seq2seq_graphs,
    writing,
)
from distill_trainer.exporting.running import CausalGraph, Seq2SeqGraphs
from distill_trainer.students import seq2seq
from distill_trainer.students.causal import Causal
from distill_trainer.students.seq2seq import Seq2Seq
from stage_jobs import Job, generating_job
from transformers import BartConfig, BartForConditionalGeneration

BEFORE = (Stage.LABEL, Stage.PREPARE, Stage.TRAIN)
CLOSE = 1e-4
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen3": {},
    "gemma2": {"sliding_window": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
}
"""Architectures, grouped queries, a window and learnt positions among them."""


def prompts(known: Any) -> list[list[int]]:
    """Return prompts of 1 to 40 tokens, for batches with much padding."""
    generator = np.random.default_rng(0)
    lengths = (1, 2, 5, 9, 17, 40, 3)
    return [generator.integers(3, len(known), size=length).tolist() for length in lengths]


@pytest.fixture(scope="module", params=KINDS)
def causal(request: pytest.FixtureRequest) -> Causal:
    return tiny_causal.model(request.param, layers=2, **KINDS[request.param])


def test_a_decoder_s_graph_writes_what_its_weights_write(causal: Causal, tmp_path: Path):
    graph = tmp_path / graphs.FLOAT
    causal_graph.export(causal, graph, opset=20)
    opened = CausalGraph(graph, threads=1)
    asked = writing.batches(prompts(causal.tokenizer))
    assert [len(batch) for batch in asked] == [1, 2, 7]
    assert {len(prompt) for prompt in asked[2]} == {1, 2, 3, 5, 9, 17, 40}
    written = [by_weights.of_causal(causal, batch) for batch in asked]
    found = writing.check(opened, written, CLOSE)
    assert found.batches == 3
    assert found.tokens == sum(len(row) for one in written for row in one.rows) > 50
    assert found.largest_difference < CLOSE
    many = written[2]
    rows = running.greedy(opened, many.ids, many.mask, ends=causal.ends, most=writing.MOST)
    for own, row in zip(many.rows, rows.tolist(), strict=True):
        assert row[: len(own)] == list(own)


def test_a_decoder_s_graph_names_its_cache_and_leaves_its_axes_free(tmp_path: Path):
    model = tiny_causal.model(layers=2, heads=4)
    causal_graph.export(model, tmp_path / graphs.FLOAT, opset=18)
    told = files.described(tmp_path / graphs.FLOAT)
    assert told["opset"] == 18
    shapes = {entry["name"]: entry["shape"] for entry in told["inputs"] + told["outputs"]}
    assert shapes["input_ids"] == ["batch", "length"]
    assert shapes["attention_mask"] == ["batch", "total"]
    assert shapes["past_key_values.1.value"] == ["batch", 4, "past", 8]
    assert shapes["present.1.key"] == ["batch", 4, "total", 8]
    assert shapes["logits"][:2] == ["batch", "length"]
    assert isinstance(shapes["logits"][2], int)


def test_weights_that_the_head_shares_are_stored_once(tmp_path: Path):
    model = tiny_causal.model(layers=2, tie_word_embeddings=True)
    causal_graph.export(model, tmp_path / graphs.FLOAT, opset=20)
    stored = onnx.load(tmp_path / graphs.FLOAT).graph.initializer
    tokens = model.model.config.vocab_size
    assert [tuple(one.dims) for one in stored if tokens in one.dims] == [(tokens, 32)]


def bart() -> Seq2Seq:
    known = tiny_transforms.tokenizer()
    config = BartConfig(
        vocab_size=len(known),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=known.pad_token_id,
        eos_token_id=known.eos_token_id,
        bos_token_id=known.pad_token_id,
        decoder_start_token_id=known.pad_token_id,
        forced_eos_token_id=None,
        init_std=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Seq2Seq(BartForConditionalGeneration(config).eval(), known)


@pytest.mark.parametrize("make", [tiny_transforms.encoder_decoder, bart], ids=["t5", "bart"])
def test_an_encoder_decoder_s_graphs_write_what_its_weights_write(make: Any, tmp_path: Path):
    model: Seq2Seq = make()
    seq2seq_graphs.export(model, tmp_path, opset=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(seq2seq_graphs.NAMES)
    opened = Seq2SeqGraphs(tmp_path, seq2seq_graphs.NAMES, model.start, threads=1)
    asked = writing.batches(prompts(model.tokenizer))
    written = [by_weights.of_seq2seq(model, batch) for batch in asked]
    found = writing.check(opened, written, CLOSE)
    assert found.tokens == sum(len(row) for one in written for row in one.rows) >= 10
    assert found.largest_difference < CLOSE
    many = written[2]
    rows = running.greedy(opened, many.ids, many.mask, ends=model.ends, most=writing.MOST)
    for own, row in zip(many.rows, rows.tolist(), strict=True):
        assert row[: len(own)] == list(own)
    ids, mask = (torch.from_numpy(one) for one in (many.ids, many.mask))
    before, _ = seq2seq.padded(
        [[model.start, *own[:-1]] for own in many.rows], model.tokenizer.pad_token_id, ids.device
    )
    with torch.no_grad():
        expected = model.logits(model.states(ids, mask, before)).numpy()
    whole = opened.logits(many.ids, many.mask, before.numpy())
    assert np.abs(whole - expected).max() < CLOSE


def test_graphs_of_other_weights_are_refused_at_the_first_token_that_differs(tmp_path: Path):
    model, other = (tiny_causal.model(layers=1, seed=seed) for seed in (0, 1))
    causal_graph.export(other, tmp_path / graphs.FLOAT, opset=20)
    written = [by_weights.of_causal(model, [[3, 4], [5]])]
    with pytest.raises(BadInput, match=r"in a batch of 2, at token 1, logits differ by") as caught:
        writing.check(CausalGraph(tmp_path / graphs.FLOAT, threads=1), written, CLOSE)
    assert caught.value.reason is Reason.BAD_MODEL


def test_a_graph_that_forgets_its_cache_is_refused_at_the_second_token(tmp_path: Path):
    model = tiny_causal.model(layers=1)
    causal_graph.export(model, tmp_path / graphs.FLOAT, opset=20)

    class Forgetful(CausalGraph):
        def step(self, last: Any) -> Any:
            self._mask = np.zeros_like(self._mask)
            return super().step(last)

    written = [by_weights.of_causal(model, [[3, 4, 5, 6]])]
    assert len(written[0].rows[0]) > 1
    with pytest.raises(BadInput, match="at token 2, "):
        writing.check(Forgetful(tmp_path / graphs.FLOAT, threads=1), written, CLOSE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = generating_job(tmp_path_factory.mktemp("exported"))
    job.spec["training"] |= {"maxSteps": 20, "optimizer": {"learningRate": 3e-3}}
    job.spec["evaluation"] |= {"onMissedGate": "Publish", "throughputBatchSize": 8}
    job.spec["export"] = {"onnx": {}}
    (job.root / "volumes" / "models").mkdir(parents=True)
    for stage in (*BEFORE, Stage.EXPORT, Stage.EVALUATE, Stage.PUBLISH):
        job.run(stage)
    return job


def test_a_generator_s_graph_is_published_with_its_numbers(finished: Job):
    report, _ = finished.run(Stage.EXPORT)
    assert int(report.facts["onnxTokensAlike"]) > 10
    assert float(report.facts["onnxLargestDifference"]) < CLOSE
    assert "tokens written greedily" in report.summary
    published, _ = finished.run(Stage.PUBLISH)
    assert published.artifact is not None
    assert published.artifact.formats == ["safetensors", "onnx"]
    folder = finished.root / "volumes" / "models" / "models"
    told = json.loads((folder / graphs.EXPORTED).read_text())["onnx"]
    assert told["tokensAlike"] == int(report.facts["onnxTokensAlike"])
    card = (folder / "README.md").read_text()
    assert f"{told['tokensAlike']} tokens as transformers" in card
    session = onnxruntime.InferenceSession(folder / "onnx" / graphs.FLOAT)
    assert "past_key_values.0.key" in {one.name for one in session.get_inputs()}
    onnx.checker.check_model(str(folder / "onnx" / graphs.FLOAT))
