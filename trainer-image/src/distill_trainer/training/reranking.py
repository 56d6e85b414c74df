"""The course of a reranker student, gathered and checked before the first step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.names import Reason
from distill_api.recipe import Contrastive, RerankerRecipe
from distill_api.teacher import Prompts
from distill_api.training import Training
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder
from torch import Tensor, nn

from distill_trainer.distributed.strategy import evaluating
from distill_trainer.errors import BadInput
from distill_trainer.losses import contrastive, reranking
from distill_trainer.losses.reduction import masked_mean
from distill_trainer.losses.reranking import Lists
from distill_trainer.losses.rows import Rows
from distill_trainer.losses.weighted import Loss
from distill_trainer.measures import retrieval
from distill_trainer.preparing import lists
from distill_trainer.students import scorers
from distill_trainer.students.rankers import Ranker
from distill_trainer.training import (
    batches,
    encode,
    listed,
    pairs,
    ranking,
    runtime,
    tokens,
)
from distill_trainer.training.batches import Batch
from distill_trainer.training.course import Learnt, bound
from distill_trainer.training.encode import Encoder
from distill_trainer.training.encoder_course import EncoderCourse
from distill_trainer.training.listed import Listed
from distill_trainer.training.ranking import LateEncoder, PairEncoder, Scale

MEASURE = "nDCG@10"
SAMPLE = 256
"""Records that the scale is fitted to and the teacher's scores are looked at."""
SMALLEST_SPREAD = 1e-4
"""Margins of a teacher that differ by less teach nothing but rounding."""
COLLAPSED = 1e-6
"""A list whose softened teacher leaves less for all but one document teaches only that one."""
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
EVALUATED_TOGETHER = 64
"""Texts of one forward pass of a validation."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught: recipe, training settings and the prompts before the student's inputs."""

    recipe: RerankerRecipe
    training: Training
    prompts: Prompts

    @property
    def compares_scores(self) -> bool:
        """Whether a loss compares the student's scores with the teacher's."""
        recipe = self.recipe
        return bool(recipe.margin_mse or recipe.hinge_margin or recipe.listwise_kl)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a student is trained."""

    device: torch.device
    cache: Path | None = None
    """Where token ids are kept for an attempt that goes on; made in memory when None."""


@dataclass(frozen=True, slots=True)
class RerankerCourse(EncoderCourse[Lesson]):
    """A reranker student, what it learns from, and how long; a Course of the loop."""

    scores: NDArray[np.float32]
    """[records, 1 + negatives]: the teacher's raw scores, own document first; NaN is padding."""
    texts: list[str]
    validation: Listed
    scale: nn.Module
    """A Scale, or nothing for a student that gives raw scores or needs no comparison."""

    @property
    def helpers(self) -> nn.Module:
        """The scale between cosines and the teacher's scores."""
        return self.scale

    @property
    def max_rows(self) -> int | None:
        """Texts or pairs of one forward pass where microBatchSize bounds them, else None."""
        pairs_of_list = 1 + int(self.source.pairs.negatives.shape[1])
        texts = pairs_of_list if isinstance(self.encoder, PairEncoder) else pairs_of_list + 1
        return bound(self.training, texts)

    def begin(self) -> None:
        """Start the scale where the student's margins spread as the teacher's do."""
        if not isinstance(self.scale, Scale):
            return
        negatives = self.source.pairs.negatives[:SAMPLE]
        records, columns = np.nonzero(negatives >= 0)
        teacher = self.scores[records, 0] - self.scores[records, columns + 1]
        own = self.source.pairs
        good = self._score(own.queries[records], own.documents[records])
        bad = self._score(own.queries[records], negatives[records, columns])
        self.scale.fit(torch.from_numpy(good - bad), torch.from_numpy(teacher))

    def score(self) -> float:
        """Mean nDCG@10 of the validation's lists as the student orders them."""
        scored = self._scored(self.validation.pairs())
        found = self.validation.ranking(self.validation.divided(scored))
        values = retrieval.per_query([MEASURE], self.validation.relevant(), found)
        return float(values[MEASURE].mean())

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's batch; its examples are the scored pairs."""
        device = self.encoder.device
        batch = self.source.batch(step, device)
        chosen = self.source.chosen(step)
        teacher = torch.from_numpy(np.asarray(self.scores[chosen])).to(device)
        own = torch.ones_like(batch.rows.negatives[:, :1], dtype=torch.bool)
        keep = torch.cat([own, batch.rows.negatives >= 0], dim=1)
        done: list[tuple[Loss, Tensor]] = []

        def loss_of(student: Tensor, contrast: Callable[[Contrastive], Tensor]) -> Tensor:
            made = Lists(self.scale(student) if self._scaled else student, teacher, keep)
            through = step / max(self.steps - 1, 1)
            loss = reranking.reranker_loss(self.lesson.recipe, made, contrast, through=through)
            done.append((loss, reranking.margins(made)))
            return loss.total

        self._backward(batch, keep, loss_of)
        loss, margins = done[0]
        parts = {name: float(part) for name, part in loss.parts.items()}
        told = {"margins": _spread(margins)}
        return Learnt(float(loss.total.detach()), parts, int(keep.sum()), told)

    @property
    def _scaled(self) -> bool:
        return isinstance(self.scale, Scale)

    def _backward(
        self,
        batch: Batch,
        keep: Tensor,
        loss_of: Callable[[Tensor, Callable[[Contrastive], Tensor]], Tensor],
    ) -> None:
        encoder = self.encoder
        if isinstance(encoder, PairEncoder):
            asked = self._pairs(batch)
            places = keep.nonzero(as_tuple=True)

            def of_pairs(scores: Tensor) -> Tensor:
                laid = scores.new_zeros(keep.shape).index_put(places, scores[:, 0])
                return loss_of(laid, lambda _: _in_list(laid, keep))

            encode.backward(encoder.of(asked), np.arange(len(asked)), of_pairs, self.max_rows)
            return

        def of_texts(embeddings: Tensor) -> Tensor:
            laid = ranking.of_lists(embeddings, batch.rows)
            return loss_of(laid, lambda knobs: _in_batch(knobs, embeddings, batch.rows))

        bound = encoder.of(batch.texts) if isinstance(encoder, LateEncoder) else encoder
        encode.backward(bound, batch.texts, of_texts, self.max_rows)

    def _pairs(self, batch: Batch) -> list[tuple[str, str]]:
        """Texts of the kept places of all lists, record after record."""
        rows = batch.rows
        documents = batch.texts[rows.candidates.cpu().numpy()]
        queries = batch.texts[rows.query.cpu().numpy()]
        found: list[tuple[str, str]] = []
        for record, query in enumerate(queries.tolist()):
            places = [int(rows.positive[record]), *rows.negatives[record].tolist()]
            found += [
                (self.texts[query], self.texts[documents[place]]) for place in places if place >= 0
            ]
        return found

    def _score(self, queries: listed.Ids, documents: listed.Ids) -> NDArray[np.float32]:
        return self._scored(
            [(self.texts[q], self.texts[d]) for q, d in zip(queries, documents, strict=True)]
        )

    def _scored(self, asked: list[tuple[str, str]]) -> NDArray[np.float32]:
        """Score pairs as the finished student would, without dropout."""
        strategy = self.encoder.strategy

        def scored(student: nn.Module) -> NDArray[np.float32]:
            judge = scorers.scorer(student, self.lesson.prompts, EVALUATED_TOGETHER)
            return judge.score(asked).scores

        with evaluating(strategy.taught(self.student)):
            return strategy.run(self.student, scored)


def _in_batch(knobs: Contrastive, embeddings: Tensor, rows: Rows) -> Tensor:
    """Compare each query's own document with all documents of the batch, others' included."""
    if embeddings.dim() == 2:
        queries, documents = embeddings[rows.query], embeddings[rows.candidates]
        there = contrastive.query_to_document(
            queries, documents, rows.positive, temperature=knobs.temperature, excluded=rows.excluded
        )
        if not knobs.symmetric:
            return masked_mean(there)
        back = contrastive.document_to_query(
            queries, documents, rows.positive, temperature=knobs.temperature, excluded=rows.excluded
        )
        return (masked_mean(there) + masked_mean(back)) / 2
    logits = ranking.against_all(embeddings, rows) / knobs.temperature
    return masked_mean(contrastive.cross_entropy(logits, rows.positive, rows.excluded))


def _in_list(laid: Tensor, keep: Tensor) -> Tensor:
    """Compare each query's own document with its list: other lists' would all be run anew.

    Without the temperature, which is for cosines: raw scores are logits already.
    """
    usable = keep[:, 1:].any(dim=1)
    if not usable.any():
        return laid.sum() * 0  # no list of this batch has a second document
    return masked_mean(reranking.in_list(laid, keep), usable)


def _spread(margins: Tensor) -> dict[str, float]:
    """Return mean and quantiles of margins; nothing where no list of a batch has any."""
    if not len(margins):
        return {}
    values = margins.double()
    return {"mean": float(values.mean())} | {
        name: float(values.quantile(share)) for name, share in QUANTILES.items()
    }


def gather(student: Ranker, prepared: Path, lesson: Lesson, setting: Setting) -> RerankerCourse:
    """Make a course of what the prepare stage left in a folder.

    Raises BadInput when recipe, data and student do not fit.
    """
    training = lesson.training
    whole = pairs.load(prepared, "train")
    train, scores = taught(lesson, whole, scores_of(prepared))
    check(lesson, train, scores)
    told = listed.load(prepared, "validation")
    texts = list(told.texts)
    runtime.spare(student[0].auto_model, training)
    raw = isinstance(student, CrossEncoder)
    needs_scale = lesson.compares_scores and not raw
    student.to(setting.device)
    return RerankerCourse(
        lesson=lesson,
        encoder=_encoder(student, prepared, lesson, setting),
        source=batches.Source(
            pairs=train,
            answers=whole.answers(),
            size=training.batch_size,
            seed=training.seed,
            with_lone=False,
            with_negatives=True,
        ),
        scores=scores,
        texts=texts,
        validation=listed.sample(told, seed=training.seed),
        scale=Scale(setting.device) if needs_scale else nn.Module(),
    )


def taught(
    lesson: Lesson, train: pairs.Pairs, scores: NDArray[np.float32]
) -> tuple[pairs.Pairs, NDArray[np.float32]]:
    """Return the records that the recipe learns from, and their scores.

    One whose list has no second document teaches nothing but by the documents of other lists: a
    batch of such records alone would have no loss.
    """
    if lesson.recipe.contrastive is not None:
        return train, scores
    return train.some(train.compared), scores[train.compared]


def scores_of(prepared: Path) -> NDArray[np.float32]:
    """Read the teacher's scores of the training lists: [records, 1 + negatives]."""
    split = pq.read_table(prepared / "records.parquet", columns=["split"])["split"].to_pylist()
    chosen = np.array([entry == "train" for entry in split], dtype=bool)
    return np.asarray(np.load(prepared / lists.SCORES, mmap_mode="r")[chosen])


def _encoder(student: Ranker, prepared: Path, lesson: Lesson, setting: Setting) -> Encoder:
    if isinstance(student, CrossEncoder):
        ids = tokens.Tokens(np.empty(0, np.int32), np.zeros(1, np.int64), 0)
        made: type[Encoder] = PairEncoder
    else:
        ids = tokens.of_prepared(student, prepared, lesson.prompts, setting.cache)
        made = LateEncoder if isinstance(student, MultiVectorEncoder) else Encoder
    return encode.made(made, student, ids, (lesson.training, setting.device))


def check(lesson: Lesson, train: pairs.Pairs, scores: NDArray[np.float32]) -> None:
    """Refuse a recipe that the data cannot serve, and a teacher that teaches nothing: BadInput.

    scores: the teacher's of the training split's lists, [records, 1 + negatives], what answers
    first.
    """
    training = lesson.training
    if training.batch_size > len(train):
        raise BadInput(
            Reason.BAD_RECIPE,
            f"training.batchSize is {training.batch_size} and the training split has only"
            f" {len(train)} records that the recipe's losses learn from: lower batchSize to at"
            f" most {len(train)}, or bring more data",
        )
    if not lesson.compares_scores:
        return
    kept = train.negatives >= 0
    margins = (scores[:, :1] - scores[:, 1:])[kept]
    if float(np.ptp(margins)) < SMALLEST_SPREAD:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the teacher's margins between documents that answer and others are all"
            f" {margins.mean():.5f}, so there is nothing to learn from it: check teacher.model or"
            " endpoint",
        )
    _refuse_squashed(lesson, scores)
    _refuse_collapsed(lesson, scores)


def _refuse_squashed(lesson: Lesson, scores: NDArray[np.float32]) -> None:
    """Refuse margins of probabilities: a sigmoid leaves next to nothing of large ones."""
    known = scores[np.isfinite(scores)]
    by_margin = lesson.recipe.margin_mse or lesson.recipe.hinge_margin
    if by_margin and known.min() >= 0 and known.max() <= 1:
        raise BadInput(
            Reason.BAD_RECIPE,
            "the teacher's scores all lie between 0 and 1, so its margins vanish under"
            " recipe.reranker.marginMse and hingeMargin: use a teacher that gives raw logits, or"
            " recipe.reranker.listwiseKl alone",
        )


def _refuse_collapsed(lesson: Lesson, scores: NDArray[np.float32]) -> None:
    """Refuse a temperature at which nearly every list's target is a single document."""
    if lesson.recipe.listwise_kl is None:
        return
    temperature = lesson.recipe.listwise_kl.temperature
    softened = torch.from_numpy(scores).double().nan_to_num(nan=-math.inf) / temperature
    left = 1 - torch.softmax(softened, dim=1).amax(dim=1)
    several = torch.from_numpy(np.isfinite(scores).sum(axis=1) > 1)
    share = float((left[several] < COLLAPSED).double().mean())
    if share > 0.5:
        widest = float(np.nanmax(scores) - np.nanmin(scores))
        raise BadInput(
            Reason.BAD_RECIPE,
            f"at recipe.reranker.listwiseKl.temperature {temperature:g} the teacher gives one"
            f" document everything in {share:.0%} of the lists, and the others teach nothing: its"
            f" scores are up to {widest:.3g} apart, raise the temperature to about"
            f" {max(widest / 4, 1):.2g}",
        )
