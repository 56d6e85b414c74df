"""Quantize: the embedding student as an INT8 graph, judged on the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from distill_api.teacher import Prompts
from distill_api.wire import Report

from distill_trainer.components import evaluated, quantized
from distill_trainer.components.embedding.train import prompts
from distill_trainer.components.quantized import Found, Numbers
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.measures import quality
from distill_trainer.measures.contest import MAIN
from distill_trainer.measures.quality import Bench
from distill_trainer.report.material import Folders
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher

QUERIES: Final = 512
DOCUMENTS: Final = 4096
"""Most texts of the validation split that are embedded; each is, four times."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """The student, and validation queries that are searched in documents."""

    model: Any
    bench: Bench
    prompts: Prompts
    batch: int

    @property
    def items(self) -> Sequence[str]:
        """Return the documents, with their prompt."""
        return [self.prompts.document + text for text in self.bench.document_texts()]

    def compute(self, model: Any, items: Sequence[str]) -> Numbers:
        """Embed texts: float32 [texts, width]."""
        return LocalTeacher(model, len(items)).embed(items, prompt="").vectors

    def judge(self, model: Any) -> Found:
        """Search the documents by a model's embeddings."""
        embedder = LocalTeacher(model, self.batch)
        queries = embedder.embed(self.bench.query_texts(), prompt=self.prompts.query).vectors
        documents = embedder.embed(
            self.bench.document_texts(), prompt=self.prompts.document
        ).vectors
        found = quality.result(self.bench, [MAIN], queries, documents)
        scores = list(_unit(queries) @ _unit(documents).T)
        return Found(float(found.values[MAIN].mean()), np.concatenate([queries, documents]), scores)

    def agreement(self, before: Found, after: Found) -> float:
        """Return the lowest cosine of the two embeddings of a text."""
        return float((_unit(before.numbers) * _unit(after.numbers)).sum(axis=1).min())


def run(context: Context) -> Report:
    """Quantise the trained student."""
    return quantized.run(context, subject)


def subject(context: Context, folders: Folders) -> Embedding:
    """Open the trained student, and what it is judged by."""
    spec = context.task.spec
    whole = quality.load(folders.prepared, spec.evaluation.corpus, "validation")
    model = make.load(folders.trained / STUDENT, trust=evaluated.trusts(context.task)).eval()
    batch = spec.evaluation.throughput_batch_size
    return Embedding(model, few(whole, spec.training.seed), prompts(context.task), batch)


def few(whole: Bench, seed: int) -> Bench:
    """Keep at most QUERIES queries and DOCUMENTS documents, and what answers these queries."""
    generator = np.random.Generator(np.random.PCG64([seed, len(whole.queries)]))
    asked = np.sort(generator.permutation(len(whole.queries))[:QUERIES])
    answers = np.unique([row for query in asked for row in sorted(whole.relevant[int(query)])])
    others = np.setdiff1d(np.arange(len(whole.documents)), answers)
    rest = generator.permutation(others)[: max(DOCUMENTS - len(answers), 0)]
    kept = np.sort(np.concatenate([answers, rest]))
    place = {int(row): new for new, row in enumerate(kept)}
    relevant = {
        new: frozenset(place[row] for row in whole.relevant[int(query)])
        for new, query in enumerate(asked)
    }
    return Bench(whole.queries[asked], whole.documents[kept], relevant, whole.texts)


def _unit(rows: Numbers) -> Numbers:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)
