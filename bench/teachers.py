"""The bench's teacher of embeddings: all-MiniLM-L6-v2, tuned on what its students do not get.

A teacher is worth asking where it knows more than the labels at hand say. As it comes, MiniLM knows
less of these documents than six hundred labelled queries teach; tuned on the others it knows more.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss

from examples.embedding.corpus import Row

BATCH: Final = 64
RATE: Final = 5e-5
SCALE: Final = 20.0
"""The inverse of the temperature of 0.05 that students learn with."""


def tune(folder: Path, rows: Sequence[Row], *, length: int, steps: int) -> None:
    """Let the model of a folder learn which document answers which query; overwrites it.

    length: tokens of a text at most. steps: of BATCH records each.
    """
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = length
    pairs = {"query": [row.query for row in rows], "document": [row.document for row in rows]}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder.parent / "tuning"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        warmup_steps=steps // 10,
        use_cpu=True,
        seed=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=20,
    )
    torch.manual_seed(0)
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(pairs),
        loss=MultipleNegativesRankingLoss(model, scale=SCALE),
    ).train()
    model.save(str(folder), create_model_card=False)
