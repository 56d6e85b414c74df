"""Whether distilling is worth it: the same student on the same data and steps, with and without.

Without, it learns from the hard labels alone: which document answers which query, or what people
wrote as the answer. Every student is the best checkpoint by the validation split, measured on the
test split, which nothing was chosen by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import answers
import numpy as np
import torch
from distill_api.outcome import Corpus
from distill_api.recipe import EmbeddingRecipe, GeneratorRecipe, RerankerRecipe
from distill_api.student import Student
from distill_api.teacher import Prompts
from distill_api.training import Training
from distill_common import wording
from distill_trainer.measures import contest, lifting, quality, retrieval
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.lifting import Bench
from distill_trainer.students import causal, make, rankers, scorers
from distill_trainer.students.causal import Causal
from distill_trainer.students.rankers import Ranker
from distill_trainer.teachers.answers import Ask
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.texts import transforms
from distill_trainer.training import courses, generating, listed, loop, reranking
from distill_trainer.training.checkpoints import Store
from distill_trainer.training.course import Course
from distill_trainer.training.listed import Listed
from lesson import Lesson
from loops import student
from sentence_transformers import SentenceTransformer

SEEDS: Final = (1, 2, 3)
CPU: Final = torch.device("cpu")
CONTRAST: Final = {"contrastive": {"weight": 1.0, "temperature": 0.05}}
RATES: Final = {"embedding": 5e-4, "reranker": 3e-4, "generator": 5e-4}
"""The same with and without the teacher, set once and not searched for."""
SOFT: Final = {"logits": {"alpha": 0.7, "temperature": 1}}
HARD, DISTILLED, UNTRAINED, TEACHER = "hard labels alone", "distilled", "untrained", "(teacher)"
TOGETHER: Final = 16
"""Answers that are written at once."""

type Scores = dict[str, list[float]]
"""Scores by way of learning, one for each seed."""


@dataclass(frozen=True, slots=True)
class Work:
    """How much each student learns."""

    batch: int
    steps: int
    scratch: Path
    seeds: Sequence[int] = SEEDS

    def training(self, rate: float, seed: int) -> Training:
        """Return the settings of one student's training."""
        return Training.model_validate(
            {
                "maxSteps": self.steps,
                "batchSize": self.batch,
                "checkpointSteps": max(self.steps // 4, 1),
                "optimizer": {"learningRate": rate},
                "seed": seed,
            }
        )

    def teach(self, course: Course, name: str) -> None:
        """Train a student to the end and leave its best weights in it."""
        place = self.scratch / name.replace(" ", "-") / str(course.training.seed)
        loop.train(course, Store(place, keep=1), loop.Watch())

    def each(self, recipes: Mapping[str, Any], score: Callable[[str, Any, int], float]) -> Scores:
        """Score what each recipe teaches, seed by seed in turns."""
        found: Scores = {name: [] for name in recipes}
        for seed in self.seeds:
            for name, recipe in recipes.items():
                found[name].append(score(name, recipe, seed))
        return found


def embedding(lesson: Lesson, work: Work) -> Scores:
    """Return nDCG@10 on the test split."""
    bench = quality.load(lesson.prepared, Corpus.ALL)

    def score(name: str, recipe: Any, seed: int) -> float:
        return _found(bench, embedder(lesson, work, name, recipe, seed))

    teacher = make.load(lesson.teacher).eval()
    known = {TEACHER: [_found(bench, teacher)], UNTRAINED: [_found(bench, student(lesson))]}
    return known | work.each({DISTILLED: lesson.spec["recipe"]["embedding"], HARD: CONTRAST}, score)


def embedder(
    lesson: Lesson, work: Work, name: str, recipe: Mapping[str, Any], seed: int
) -> SentenceTransformer:
    """Return the student that a recipe makes; name: of the way of learning."""
    return taught(student(lesson), lesson, work, name, (recipe, seed))


def taught(
    learner: SentenceTransformer,
    lesson: Lesson,
    work: Work,
    name: str,
    how: tuple[Mapping[str, Any], int],
) -> SentenceTransformer:
    """Teach a student by a recipe, with a seed; returns it."""
    recipe, seed = how
    training = work.training(RATES["embedding"], seed)
    told = courses.Lesson(EmbeddingRecipe.model_validate(recipe), training, Prompts())
    course = courses.gather(learner, lesson.prepared, told, device=CPU)
    work.teach(course, name)
    return course.encoder.student


def _found(bench: quality.Bench, model: SentenceTransformer) -> float:
    def embedded(texts: list[str]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return np.asarray(model.encode(texts, show_progress_bar=False), dtype=np.float32)

    queries, documents = embedded(bench.query_texts()), embedded(bench.document_texts())
    result = quality.result(bench, [contest.MAIN], queries, documents)
    return float(result.values[contest.MAIN].mean())


def reranker(lesson: Lesson, work: Work) -> Scores:
    """Return nDCG@10 of the test split's lists, ordered by a BiEncoder."""
    lists = listed.load(lesson.prepared, "test")

    def score(name: str, recipe: Any, seed: int) -> float:
        training = work.training(RATES["reranker"], seed)
        told = reranking.Lesson(RerankerRecipe.model_validate(recipe), training, Prompts())
        course = reranking.gather(
            _ranker(lesson), lesson.prepared, told, reranking.Setting(device=CPU)
        )
        work.teach(course, name)
        return _ordered(lists, lists.divided(_scores(lists, course.student)))

    untrained = lists.divided(_scores(lists, _ranker(lesson)))
    known = {TEACHER: [_ordered(lists, lists.scores)], UNTRAINED: [_ordered(lists, untrained)]}
    return known | work.each({DISTILLED: lesson.spec["recipe"]["reranker"], HARD: CONTRAST}, score)


def _ranker(lesson: Lesson) -> Ranker:
    wanted = Student.model_validate(lesson.spec["student"])
    length = lesson.spec["teacher"]["maxLength"]
    return rankers.make_ranker(wanted, lesson.teacher, Prompts(), max_length=length, seed=0)


def _scores(lists: Listed, model: Ranker) -> Any:
    return scorers.scorer(model.eval(), Prompts(), 64).score(lists.pairs()).scores


def _ordered(lists: Listed, scores: Any) -> float:
    found = retrieval.per_query([contest.MAIN], lists.relevant(), lists.ranking(scores))
    return float(found[contest.MAIN].mean())


def generator(lesson: answers.Lesson, work: Work) -> dict[str, Scores]:
    """Return the log-likelihood of the test's answers, and token F1 of what is written."""

    def f1(written: list[str]) -> float:
        pairs = zip(written, lesson.asked, strict=True)
        return float(np.mean([wording.token_f1(own, one.answer) for own, one in pairs]))

    return _writers(lesson, work, "token F1", f1)


def query_transform(lesson: answers.Lesson, bench: Bench, work: Work) -> dict[str, Scores]:
    """Return the log-likelihood of the test's expansions, and the recall that is added."""

    def lift(written: list[str]) -> float:
        pairs = zip(written, bench.queries, strict=True)
        read = [transforms.read(text, query, answers.WANTED).kept for text, query in pairs]
        return float(lifting.measure(bench, Pair(read, read)).lifts.student.mean())

    return _writers(lesson, work, "lift of Recall@10", lift)


def _writers(
    lesson: answers.Lesson, work: Work, measure: str, judge: Callable[[list[str]], float]
) -> dict[str, Scores]:
    """Teach what writes; the distributions are the teacher's for the words of the hard labels."""
    teacher = causal.load(lesson.teacher)
    examples = answers.labelled(teacher, lesson.train)
    judged: Scores = {TEACHER: [judge(_written(lesson, teacher))]}
    likely: Scores = {
        TEACHER: [_likelihood(lesson, teacher)],
        UNTRAINED: [_likelihood(lesson, answers.student(lesson))],
    }
    vocabulary = answers.vocabulary(lesson)
    del teacher

    def score(name: str, recipe: Any, seed: int) -> float:
        course = generating.GeneratorCourse(
            recipe=GeneratorRecipe.model_validate(recipe),
            training=work.training(RATES["generator"], seed),
            writer=answers.student(lesson),
            examples=examples,
            validation=lesson.validation,
            device=CPU,
            vocabulary=vocabulary,
        )
        work.teach(course, name)
        judged.setdefault(name, []).append(judge(_written(lesson, course.writer)))
        return _likelihood(lesson, course.writer)

    likely |= work.each({DISTILLED: SOFT, HARD: {"outputs": {}}}, score)
    return {"log-likelihood, nats a token": likely, measure: judged}


def _likelihood(lesson: answers.Lesson, model: Causal) -> float:
    batches = [
        lesson.test[begin : begin + TOGETHER] for begin in range(0, len(lesson.test), TOGETHER)
    ]
    total = sum(float(generating.nll_by_row(model, batch).sum()) for batch in batches)
    return -total / sum(len(one.target) for one in lesson.test)


def _written(lesson: answers.Lesson, model: Causal) -> list[str]:
    """Return what a model writes for the test's records, without chance."""
    most = max(len(one.target) for one in lesson.test)
    sampling = answers.ASKING.model_copy(update={"max_tokens": most})
    asked = [Ask(tuple((m["role"], m["content"]) for m in one.chat)) for one in lesson.asked]
    return [one.text for one in LocalGenerator(model, sampling, TOGETHER).answer(asked)]
