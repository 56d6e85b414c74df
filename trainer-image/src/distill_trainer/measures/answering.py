"""What was measured of two models' answers, question by question, as the contract tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from distill_api.outcome import Evaluation, Measure
from distill_api.status import EvaluationStatus, Score
from numpy.typing import NDArray

from distill_trainer.measures import bootstrap, gates, served, telling
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.served import Served
from distill_trainer.measures.speed import Timings

type Values = NDArray[np.float64]

JUDGED: Final = (Measure.FAITHFULNESS, Measure.RELEVANCY, Measure.CONTEXT_RECALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the test split."""

    query: str
    context: str
    reference: str
    """The data's answer, or where it has none the teacher's."""
    from_data: bool


@dataclass(frozen=True, slots=True)
class Match:
    """Everything that was measured."""

    asked: list[Asked]
    answers: Pair[list[str]]
    values: Pair[Mapping[str, Values]]
    """By measure: [questions], NaN where unscored."""
    retentions: Mapping[str, Retention | None]
    timings: Pair[Timings]
    parameters: Pair[int]
    served: Served | None = None
    """What is served, under load; None where that was not asked for."""

    @property
    def speedup(self) -> float:
        """Student's tokens per second over the teacher's."""
        return self.timings.student.texts_per_second / self.timings.teacher.texts_per_second

    @property
    def unscored(self) -> dict[str, int]:
        """Count the questions on which not both answers have a value, by measure."""
        return {name: int((~scored(self.values, name)).sum()) for name in self.values.teacher}


def scored(values: Pair[Mapping[str, Values]], name: str) -> "NDArray[np.bool_]":
    """Tell the questions on which both models have a value of a measure."""
    return np.isfinite(values.student[name]) & np.isfinite(values.teacher[name])


def retentions(
    values: Pair[Mapping[str, Values]], evaluation: Evaluation, *, seed: int
) -> dict[str, Retention | None]:
    """Ratio of the means with its interval, over what is scored of both; None without any."""
    found: dict[str, Retention | None] = {}
    for name in values.teacher:
        both = scored(values, name)
        found[name] = None if not both.any() else bootstrap.retention(
            values.student[name][both],
            values.teacher[name][both],
            samples=evaluation.bootstrap_samples,
            confidence=evaluation.confidence,
            seed=seed,
        )  # fmt: skip
    return found


def status(match: Match, evaluation: Evaluation) -> EvaluationStatus:
    """Build what the job's status says, verdict included; without gates everything passes."""
    asked = evaluation if evaluation.gates is not None else evaluation.model_copy(
        update={"gates": []}
    )  # fmt: skip
    verdict = gates.judge(asked, match.retentions, match.speedup, match.served)
    missing = {name: count for name, count in match.unscored.items() if count}
    told = ", ".join(f"{name} {count}" for name, count in missing.items())
    note = f" Unscored questions, which count nowhere: {told}." if missing else ""
    return EvaluationStatus(
        verdict=verdict.verdict,
        explanation=verdict.explanation + note,
        scores=[_score(match, name, kept) for name, kept in match.retentions.items() if kept],
        student=telling.speed(match.timings.student),
        teacher=telling.speed(match.timings.teacher),
        speedup=telling.speedup(match.speedup),
        student_parameters=match.parameters.student,
        teacher_parameters=match.parameters.teacher,
        queries=len(match.asked),
        documents=len({one.context for one in match.asked}),
        benchmark=served.status(match.served) if match.served else None,
    )


def main(match: Match) -> str:
    """Return the measure by which answers are compared one by one."""
    return Measure.ROUGE_L.value if Measure.ROUGE_L.value in match.values.teacher else next(
        iter(match.values.teacher)
    )  # fmt: skip


def worst(match: Match, limit: int) -> list[dict[str, Any]]:
    """Describe the questions on which the student lost most by the main measure."""
    name = main(match)
    lost = match.values.teacher[name] - match.values.student[name]
    lost = np.where(np.isfinite(lost), lost, -np.inf)
    order = np.argsort(-lost, kind="stable")[:limit]
    return [
        {
            "query": match.asked[place].query,
            "context": match.asked[place].context,
            "reference": match.asked[place].reference if match.asked[place].from_data else None,
            "student": match.answers.student[place],
            "teacher": match.answers.teacher[place],
            "lost": round(float(lost[place]), 4),
        }
        for place in order
        if lost[place] > 0
    ]


def facts(match: Match) -> dict[str, str]:
    """Numbers for the checklist."""
    name = main(match)
    both = scored(match.values, name)
    worse = match.values.student[name][both] < match.values.teacher[name][both]
    return {
        "regressions": str(int(worse.sum())),
        "errorExamples": str(len(worst(match, 100))),
        "unscored": str(sum(match.unscored.values())),
    }


def _score(match: Match, name: str, kept: Retention) -> Score:
    both = scored(match.values, name)
    student, teacher = (
        side[name][both].mean() for side in (match.values.student, match.values.teacher)
    )
    return telling.score(name, student, teacher, kept)
