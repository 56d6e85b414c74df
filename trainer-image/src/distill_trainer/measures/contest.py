"""Student against teacher: what was measured of both, as the contract wants it told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distill_api.outcome import Evaluation, Measure
from distill_api.status import EvaluationStatus, Score

from distill_trainer.measures import bootstrap, gates, mistakes, served, telling
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.mistakes import Mistake
from distill_trainer.measures.quality import Bench, Result
from distill_trainer.measures.served import Served
from distill_trainer.measures.speed import Timings

DEFAULT_MEASURES = (
    Measure.RECALL_1,
    Measure.RECALL_10,
    Measure.NDCG_10,
    Measure.MAP,
    Measure.MRR,
)
MAIN = Measure.NDCG_10.value
"""The measure by which queries are compared one by one."""


@dataclass(frozen=True, slots=True)
class Pair[T]:
    """The same thing of both models."""

    student: T
    teacher: T


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything that was measured."""

    bench: Bench
    results: Pair[Result]
    retentions: Mapping[str, Retention | None]
    """By measure; None where the teacher scores 0."""
    timings: Pair[Timings]
    parameters: Pair[int]
    """Weights; 0 for a teacher behind an endpoint."""
    widths: Mapping[int, float]
    """The student's main measure by width of its cut embedding."""
    served: Served | None = None
    """What is served, under load; None where that was not asked for."""

    @property
    def speedup(self) -> float:
        """Student's texts per second over the teacher's."""
        return self.timings.student.texts_per_second / self.timings.teacher.texts_per_second


def measures(evaluation: Evaluation) -> list[str]:
    """List what is measured: what the spec asks for and gates on, and always the main measure."""
    asked = evaluation.measures or DEFAULT_MEASURES
    wanted = [measure.value for measure in asked]
    wanted += [gate.measure.value for gate in gates.gates(evaluation)]
    return list(dict.fromkeys([*wanted, MAIN]))


def retentions(
    results: Pair[Result], evaluation: Evaluation, *, seed: int
) -> dict[str, Retention | None]:
    """Ratio of the means with its interval, by measure."""
    return {
        measure: bootstrap.retention(
            results.student.values[measure],
            results.teacher.values[measure],
            samples=evaluation.bootstrap_samples,
            confidence=evaluation.confidence,
            seed=seed,
        )
        for measure in results.teacher.values
    }


def status(contest: Contest, evaluation: Evaluation) -> EvaluationStatus:
    """Build what the job's status says, verdict included."""
    verdict = gates.judge(evaluation, contest.retentions, contest.speedup, contest.served)
    found = contest.retentions.items()
    return EvaluationStatus(
        verdict=verdict.verdict,
        explanation=verdict.explanation,
        scores=[_score(contest, name, kept) for name, kept in found if kept is not None],
        student=telling.speed(contest.timings.student),
        teacher=telling.speed(contest.timings.teacher),
        speedup=telling.speedup(contest.speedup),
        student_parameters=contest.parameters.student,
        teacher_parameters=contest.parameters.teacher,
        queries=len(contest.bench.queries),
        documents=len(contest.bench.documents),
        benchmark=served.status(contest.served) if contest.served else None,
    )


def facts(contest: Contest) -> dict[str, str]:
    """Numbers for the checklist."""
    values = _main_values(contest)
    return {
        "regressions": str(mistakes.regressions(values.student, values.teacher)),
        "errorExamples": str(len(worst(contest))),
    }


def worst(contest: Contest, limit: int = 100) -> Sequence[Mistake]:
    """List the queries on which the student lost most by the main measure."""
    values = _main_values(contest)
    return mistakes.worst(
        (values.student, values.teacher),
        (contest.results.student.ranking, contest.results.teacher.ranking),
        contest.bench.relevant,
        limit=limit,
    )


def described(contest: Contest, mistake: Mistake) -> dict[str, Any]:
    """Put a mistake in texts, for people."""
    queries, documents = contest.bench.queries, contest.bench.documents
    return {
        "query": contest.bench.texts[queries[mistake.query]],
        "answer": contest.bench.texts[documents[mistake.relevant]],
        "studentFirst": contest.bench.texts[documents[mistake.student_first]],
        "studentRank": mistake.student_rank,
        "teacherRank": mistake.teacher_rank,
        "lost": round(mistake.lost, 4),
    }


def _main_values(contest: Contest) -> "Pair[np.ndarray[Any, np.dtype[np.float64]]]":
    results = contest.results
    return Pair(results.student.values[MAIN], results.teacher.values[MAIN])


def _score(contest: Contest, measure: str, kept: Retention) -> Score:
    results = contest.results
    return telling.score(
        measure,
        results.student.values[measure].mean(),
        results.teacher.values[measure].mean(),
        kept,
    )
