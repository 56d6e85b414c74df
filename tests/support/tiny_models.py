"""A tiny BERT teacher with random weights, and a prepared folder that it labelled."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

TOPICS = 8
WORDS = [f"{kind}{number}" for kind in "abcdefgh" for number in range(12)]


def teacher(hidden: int = 32, layers: int = 4, dropout: float = 0.1) -> SentenceTransformer:
    """Make a BERT of random weights with mean pooling, normalised."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=2 * hidden,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=0.2,
        )
        BertModel(config).save_pretrained(folder)
        _tokenizer(vocabulary).save_pretrained(folder)
        body = Transformer(folder, max_seq_length=32)
    return SentenceTransformer(modules=[body, Pooling(hidden), Normalize()], device="cpu")


def _tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    special = {
        f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, special["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)


@dataclass(frozen=True, slots=True)
class World:
    """A teacher and what the prepare stage would have left of its labels."""

    teacher: SentenceTransformer
    prepared: Path


def world(folder: Path, *, records: int = 60, negatives: int = 2) -> World:
    """Write a prepared folder of random sentences with one document each, and lone documents.

    The first two records share their query, so that one has two known answers.
    """
    made = teacher()
    generator = np.random.default_rng(1)
    queries = [_sentence(generator, topic % TOPICS, 3) for topic in range(records)]
    documents = [_sentence(generator, topic % TOPICS, 9) for topic in range(records + 10)]
    texts, kinds = queries + documents, ["query"] * records + ["document"] * len(documents)
    splits = [
        "train" if i % 10 < 7 else "validation" if i % 10 == 7 else "test" for i in range(records)
    ]
    ids = np.arange(records)
    query_ids = np.where(ids == 1, 0, ids)
    table = {"query_id": query_ids, "document_id": ids + records, "split": splits}
    table["group"] = [str(i) for i in ids]
    table["teacher_score"] = np.zeros(records, dtype=np.float32)
    mined = generator.integers(records, 2 * records, size=(records, negatives))
    mined[mined == (ids + records)[:, None]] = -1
    _write(folder, texts, kinds, splits + splits + ["train"] * 10)
    pq.write_table(pa.table(table), folder / "records.parquet")
    np.save(folder / "negatives.npy", mined.astype(np.int32))
    vectors = made.encode(texts, convert_to_numpy=True, show_progress_bar=False)
    np.save(folder / "embeddings.npy", vectors.astype(np.float32))
    return World(made, folder)


def _write(folder: Path, texts: list[str], kinds: list[str], splits: list[str]) -> None:
    table = {"id": np.arange(len(texts), dtype=np.int32), "kind": kinds, "text": texts}
    pq.write_table(pa.table(table | {"split": splits}), folder / "texts.parquet")
    told = {"dimension": 32, "normalized": True, "prompts": {"query": "", "document": ""}}
    (folder / "prepared.json").write_text(json.dumps(told))


def _sentence(generator: np.random.Generator, topic: int, words: int) -> str:
    own = [word for word in WORDS if word.startswith("abcdefgh"[topic])]
    count = words + int(generator.integers(0, words))
    chosen = [generator.choice(own if generator.random() < 0.7 else WORDS) for _ in range(count)]
    return " ".join(map(str, chosen))


def write_data(path: Path, records: int = 120) -> None:
    """Write records of query, document and group as JSONL, and some documents without a query.

    A query holds most words of its document, so that even a random teacher finds it.
    """
    generator = np.random.default_rng(2)
    rows: list[dict[str, str]] = []
    for number in range(records):
        document = _sentence(generator, number % TOPICS, 9)
        query = " ".join(document.split()[2:])
        row = {"document": document, "group": f"g{number}"}
        rows.append(row | {"query": query} if number % 6 else row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
