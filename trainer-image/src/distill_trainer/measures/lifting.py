"""What transformed queries are worth: the recall that they add to the query's own, by union."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from distill_api.outcome import Evaluation, Measure
from distill_api.status import EvaluationStatus, Score
from numpy.typing import NDArray

from distill_trainer.measures import bootstrap, gates, lexical, retrieval, served, telling
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.lexical import Index
from distill_trainer.measures.served import Served
from distill_trainer.measures.speed import Timings
from distill_trainer.texts import transforms
from distill_trainer.texts.querying import Query

RECALL: Final = "R@10"
LIFT: Final = Measure.RECALL_LIFT.value

type Values = NDArray[np.float64]
type Written = Sequence[tuple[str, ...]]
"""Transforms of each query; none where the model's text could not be read."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is searched for, and in which documents."""

    queries: Sequence[Query]
    documents: Sequence[str]
    relevant: retrieval.Relevant
    """Row of a query → rows of the documents that it looks for."""
    replaces: bool
    """A transform is searched for instead of the query, not beside it: a rewrite."""


@dataclass(frozen=True, slots=True)
class Recalls:
    """Recall@10 of each query, [queries]."""

    alone: Values
    """Of the query as it was written."""
    found: Pair[Values]
    """With the transforms of student and teacher."""

    @property
    def lifts(self) -> Pair[Values]:
        """What the transforms add for each query; below 0 where they harm."""
        return Pair(self.found.student - self.alone, self.found.teacher - self.alone)


@dataclass(frozen=True, slots=True)
class Match:
    """Everything that was measured."""

    bench: Bench
    written: Pair[Written]
    texts: Pair[Sequence[str]]
    """What was written, unread."""
    recalls: Recalls
    retentions: Mapping[str, Retention | None]
    """None where the teacher itself adds nothing."""
    timings: Pair[Timings]
    parameters: Pair[int]
    served: Served | None = None
    """What is served, under load; None where that was not asked for."""

    @property
    def speedup(self) -> float:
        """Student's queries per second over the teacher's."""
        return self.timings.student.texts_per_second / self.timings.teacher.texts_per_second


def measure(bench: Bench, written: Pair[Written]) -> Recalls:
    """Search for the queries alone, and with each model's transforms."""
    index = lexical.index(bench.documents)
    alone = lexical.search(index, [query.text for query in bench.queries])
    found = (_united(index, bench, alone, own) for own in (written.student, written.teacher))
    return Recalls(_recall(bench, alone), Pair(*(_recall(bench, one) for one in found)))


def _united(
    index: Index, bench: Bench, alone: Sequence[lexical.Found], written: Written
) -> list[lexical.Found]:
    """Search for each query's transforms and unite what was found."""
    texts = [text for own in written for text in own]
    each = iter(lexical.search(index, texts))
    found = []
    for query, own in zip(alone, written, strict=True):
        parts = [next(each) for _ in own]
        # What could not be read leaves the query as it is, as it would in a service.
        kept = parts if bench.replaces and parts else [query, *parts]
        found.append(kept[0] if len(kept) == 1 else lexical.union(kept))
    return found


def _recall(bench: Bench, found: Sequence[lexical.Found]) -> Values:
    ranking = lexical.ranking(found, depth=10)
    return retrieval.per_query([RECALL], bench.relevant, ranking)[RECALL]


def retentions(
    recalls: Recalls, evaluation: Evaluation, *, seed: int
) -> dict[str, Retention | None]:
    """Ratio of the means with its interval: of the lift, and of the recall itself."""
    both = {LIFT: recalls.lifts, RECALL: recalls.found}
    return {
        name: bootstrap.retention(
            pair.student,
            pair.teacher,
            samples=evaluation.bootstrap_samples,
            confidence=evaluation.confidence,
            seed=seed,
        )
        for name, pair in both.items()
    }


def status(match: Match, evaluation: Evaluation) -> EvaluationStatus:
    """Build what the job's status says, verdict included; without gates everything passes."""
    asked = evaluation if evaluation.gates is not None else evaluation.model_copy(
        update={"gates": []}
    )  # fmt: skip
    verdict = gates.judge(asked, match.retentions, match.speedup, match.served)
    told = facts(match)
    return EvaluationStatus(
        verdict=verdict.verdict,
        explanation=(
            f"{verdict.explanation} Recall@10 is {told['recallAlone']} for the queries alone,"
            f" {told['recallStudent']} with the student's transforms and {told['recallTeacher']}"
            f" with the teacher's."
        ),
        scores=_scores(match),
        student=telling.speed(match.timings.student, 2),
        teacher=telling.speed(match.timings.teacher, 2),
        speedup=telling.speedup(match.speedup),
        student_parameters=match.parameters.student,
        teacher_parameters=match.parameters.teacher,
        queries=len(match.bench.queries),
        documents=len(match.bench.documents),
        benchmark=served.status(match.served) if match.served else None,
    )


def _scores(match: Match) -> list[Score]:
    means = {LIFT: match.recalls.lifts, RECALL: match.recalls.found}
    return [
        telling.score(name, means[name].student.mean(), means[name].teacher.mean(), kept)
        for name, kept in match.retentions.items()
        if kept is not None
    ]


def facts(match: Match) -> dict[str, str]:
    """Numbers of both models' transforms, and for the checklist."""
    recalls = match.recalls
    found = {"recallAlone": f"{recalls.alone.mean():.4f}"}
    sides = (
        ("Student", recalls.found.student, recalls.lifts.student, match.written.student),
        ("Teacher", recalls.found.teacher, recalls.lifts.teacher, match.written.teacher),
    )
    for side, recall, lift, written in sides:
        found |= {
            f"recall{side}": f"{recall.mean():.4f}",
            f"recallLift{side}": f"{lift.mean():.4f}",
            f"unreadable{side}": f"{sum(not own for own in written) / len(written):.4f}",
            f"transforms{side}": f"{sum(map(len, written)) / len(written):.2f}",
        }
        if (distinct := distinctness(written)) is not None:
            found[f"distinctness{side}"] = f"{distinct:.4f}"
    worse = recalls.found.student < recalls.found.teacher
    return found | {
        "regressions": str(int(worse.sum())),
        "errorExamples": str(len(worst(match, 100))),
    }


def distinctness(written: Written) -> float | None:
    """Mean distance of a query's transforms from each other; None where none has two."""
    values = [transforms.distinctness(own) for own in written if len(own) > 1]
    return sum(values) / len(values) if values else None


def worst(match: Match, limit: int) -> list[dict[str, Any]]:
    """Describe the queries on which the student's transforms find less than the teacher's."""
    found = match.recalls.found
    lost = found.teacher - found.student
    order = np.argsort(-lost, kind="stable")[:limit]
    return [
        {
            "query": match.bench.queries[place].text,
            "turns": " / ".join(match.bench.queries[place].turns),
            "student": " ||| ".join(match.written.student[place]) or match.texts.student[place],
            "teacher": " ||| ".join(match.written.teacher[place]) or match.texts.teacher[place],
            "alone": round(float(match.recalls.alone[place]), 4),
            "lost": round(float(lost[place]), 4),
        }
        for place in order
        if lost[place] > 0
    ]
