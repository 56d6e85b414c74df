"""A tiny cross-encoder teacher that knows which words two texts share, and data for it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tiny_models
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification

LENGTH = 48


def teacher(layers: int = 2, hidden: int = 32, spread: float = 40.0) -> CrossEncoder:
    """Make a BERT of random weights with one label, whose raw scores spread far beyond 1."""
    body = tiny_models.teacher(hidden, layers)
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        torch.manual_seed(3)
        config = BertConfig.from_dict(body[0].auto_model.config.to_dict())
        config.num_labels = 1
        made = BertForSequenceClassification(config)
        made.bert.load_state_dict(body[0].auto_model.state_dict())
        torch.nn.init.normal_(made.classifier.weight, std=spread / hidden)
        made.save_pretrained(folder)
        body.tokenizer.save_pretrained(folder)
        ranker = CrossEncoder(folder, device="cpu", local_files_only=True)
    ranker.max_seq_length = LENGTH
    return ranker.eval()


def write_plain(folder: Path) -> None:
    """Write a cross-encoder as transformers saves one: random weights, one label, a tokenizer."""
    tokenizer = tiny_models.teacher().tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        num_labels=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_data(path: Path, records: int = 120) -> None:
    """Write records of query, document and group as JSONL; the query repeats document's words."""
    generator = np.random.default_rng(4)
    rows: list[dict[str, str]] = []
    for number in range(records):
        words = generator.choice(tiny_models.WORDS, 8)
        rows.append(
            {
                "query": " ".join(words[:4]),
                "document": " ".join(words[::-1]),
                "group": f"g{number}",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
