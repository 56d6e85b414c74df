"""Quantize: the reranker student as an INT8 graph, judged on the lists of the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from distill_api.names import Reason
from distill_api.student import StudentArchitecture
from distill_api.teacher import Prompts
from distill_api.wire import Report

from distill_trainer.components import evaluated, quantized
from distill_trainer.components.quantized import Found, Numbers
from distill_trainer.components.reranker.train import prompts
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.measures import retrieval
from distill_trainer.measures.contest import MAIN
from distill_trainer.report.material import Folders
from distill_trainer.students import rankers, scorers
from distill_trainer.teachers.local import LocalTeacher
from distill_trainer.teachers.scoring import LocalScorer
from distill_trainer.training import listed
from distill_trainer.training.listed import Listed


@dataclass(frozen=True, slots=True)
class Reranker:
    """The student, and lists of documents that it orders."""

    model: Any
    lists: Listed
    prompts: Prompts
    batch: int
    kind: StudentArchitecture

    @property
    def items(self) -> Sequence[Any]:
        """Return the pairs; of a BiEncoder the documents with their prompt."""
        if self.kind is StudentArchitecture.CROSS_ENCODER:
            return self.lists.pairs()
        return [self.prompts.document + document for _, document in self.lists.pairs()]

    def compute(self, model: Any, items: Sequence[Any]) -> Numbers:
        """Score pairs [pairs], or embed texts [texts, width], or tokens [texts, tokens, width]."""
        if self.kind is StudentArchitecture.LATE_INTERACTION:
            return _of_tokens(model, items)
        if self.kind is StudentArchitecture.CROSS_ENCODER:
            return LocalScorer(model, Prompts(), len(items)).score(items).scores
        return LocalTeacher(model, len(items)).embed(items, prompt="").vectors

    def judge(self, model: Any) -> Found:
        """Order the lists by a model's scores."""
        scorer = scorers.by_kind(model, self.kind, self.prompts, self.batch)
        scores = scorer.score(self.lists.pairs()).scores
        own = self.lists.divided(scores)
        values = retrieval.per_query([MAIN], self.lists.relevant(), self.lists.ranking(own))
        return Found(float(values[MAIN].mean()), scores, own)

    def agreement(self, before: Found, after: Found) -> float:
        """Return the correlation of the scores."""
        return float(np.corrcoef(before.numbers, after.numbers)[0, 1])


def _of_tokens(model: Any, items: Sequence[str]) -> Numbers:
    """Embed every token; what stands at padding is none of them, and 0 here."""
    with torch.no_grad():
        made = model(model.preprocess(list(items)))
    mask = made["attention_mask"].unsqueeze(-1)
    return np.asarray((made["token_embeddings"] * mask).numpy(), dtype=np.float32)


def run(context: Context) -> Report:
    """Quantise the trained student."""
    return quantized.run(context, subject)


def subject(context: Context, folders: Folders) -> Reranker:
    """Open the trained student, and what it is judged by."""
    spec = context.task.spec
    kind = rankers.architecture(spec.student)
    lists = listed.load(folders.prepared, "validation")
    if len(lists.queries) == 0:
        raise BadInput(
            Reason.BAD_DATA,
            "no query of the validation split has a second document in its list, by which the"
            " student could be judged: raise data.candidates.perQuery",
        )
    lists = listed.sample(lists, seed=spec.training.seed)
    trust = evaluated.trusts(context.task)
    model = rankers.load(folders.trained / STUDENT, kind, trust=trust).eval()
    batch = spec.evaluation.throughput_batch_size
    return Reranker(model, lists, prompts(context.task), batch, kind)
