"""Make a cross-encoder teacher for the reranker examples: all-MiniLM-L6-v2, taught by hard labels.

It learns which document answers a query, from the records of the corpus that the jobs train on too:
records of their validation and test splits are left out, by the same groups and the same shares.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from distill_api.data import Splits
from distill_trainer.labelling import candidates
from distill_trainer.labelling.corpus import Corpus
from distill_trainer.losses import reranking
from distill_trainer.preparing import splits
from distill_trainer.sources.records import Record
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from examples.embedding import corpus, fixtures

LIST = 8
"""Documents of a list, the answer among them."""
QUERIES = 8
"""Lists of a step."""
LENGTH = 64
"""Tokens of a pair."""


def training_records(rows: list[corpus.Row]) -> Corpus:
    """Take in the rows with a query whose group the jobs train on."""
    found = Corpus()
    for row in rows:
        if row.query is None or splits.assign(f"group:{row.group}", Splits()) != splits.TRAIN:
            continue
        found.add(Record(document=row.document, query=row.query, group=row.group))
    return found


def teach(model: CrossEncoder, records: Corpus, *, steps: int, seed: int = 0) -> list[float]:
    """Train on lists of lexical neighbours; returns the loss of each step."""
    lists = _lists(records)
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    adamw = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
    warmed = torch.optim.lr_scheduler.OneCycleLR(adamw, 5e-5, total_steps=steps, pct_start=0.1)
    model.train()
    losses: list[float] = []
    for step in range(steps):
        chosen = generator.choice(len(lists), QUERIES, replace=False)
        loss = _loss(model, [lists[row] for row in chosen])
        adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        warmed.step()
        losses.append(float(loss.detach()))
        if step % 20 == 19:
            print(f"step {step + 1} of {steps}: loss {np.mean(losses[-20:]):.3f}", flush=True)
    return losses


def _lists(records: Corpus) -> list[list[tuple[str, str]]]:
    """Pairs of each query, its answer first."""
    queries, documents = list(records.queries), list(records.documents)
    found: list[list[tuple[str, str]]] = [[] for _ in queries]
    for entry in candidates.choose(records, LIST):
        found[entry.query].append((queries[entry.query], documents[entry.document]))
    return [pairs[:LIST] for pairs in found if len(pairs) >= LIST]


def _loss(model: CrossEncoder, lists: list[list[tuple[str, str]]]) -> Tensor:
    features = model.preprocess([list(pair) for pairs in lists for pair in pairs])
    scores = model(features)["scores"].reshape(len(lists), LIST)
    return reranking.in_list(scores, torch.ones_like(scores, dtype=torch.bool)).mean()


def make(into: Path, *, steps: int) -> None:
    """Write the teacher's folder, unless it is there.

    It gets its name when it is whole: what an interruption left is made anew.
    """
    if into.exists():
        return
    rows, _ = corpus.held_out(corpus.of_this_python())
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        model = untaught(Path(scratch) / "body")
        teach(model, training_records(rows), steps=steps)
        made = Path(scratch) / into.name
        model.eval().save(str(made), create_model_card=False)
        made.rename(into)


def untaught(body: Path) -> CrossEncoder:
    """Return a cross-encoder with the embedding model's layers and a classifier of random weights.

    body: gets a copy of the embedding model.
    """
    fixtures.copy_teacher(body)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (body / name).unlink(missing_ok=True)
    torch.manual_seed(0)
    model = CrossEncoder(
        str(body), num_labels=1, device="cpu", local_files_only=True, activation_fn=nn.Identity()
    )
    model.max_seq_length = LENGTH
    return model


def main() -> None:
    """Read the command line and make the teacher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the teacher goes")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    make(given.folder, steps=given.steps)


if __name__ == "__main__":
    main()
