"""Evaluate: student against teacher on the lists of the test split, in quality and in speed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from distill_api.names import Reason
from distill_api.outcome import Benchmark, Corpus, Evaluation
from distill_api.student import StudentArchitecture
from distill_api.wire import Report
from numpy.typing import NDArray

from distill_trainer.benchmarking import asking
from distill_trainer.benchmarking import run as benchmark
from distill_trainer.benchmarking.load import Request
from distill_trainer.components import evaluated
from distill_trainer.components.evaluated import Judged
from distill_trainer.components.reranker.train import prompts
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.measures import contest, retrieval, speed
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.quality import Bench, Result
from distill_trainer.report.material import Folders
from distill_trainer.students import make, rankers, scorers
from distill_trainer.teachers import scoring
from distill_trainer.teachers.scoring import LocalScorer, Scorer
from distill_trainer.training import listed
from distill_trainer.training.listed import Listed

THROUGHPUT_LISTS = 64
"""Lists of one round of the throughput measurement."""
QUALITY_SHARE = 0.3
"""Part of the stage's progress that measuring quality stands for; speed is the rest."""
SCORED_TOGETHER = 1024
"""Pairs between two looks at whether the pod has to go."""

log = logging.getLogger(__name__)

type Asked = tuple[str, tuple[str, ...]]
"""A query and the documents that are to be ordered."""


@dataclass(slots=True)
class Counted:
    """A scorer, its weights, and the tokens that it was sent."""

    scorer: Scorer
    parameters: int
    tokens: int = 0

    def order(self, lists: Sequence[Asked]) -> NDArray[np.float32]:
        """Score the documents of some lists together."""
        return self.score([(query, one) for query, documents in lists for one in documents])

    def score(self, pairs: Sequence[scoring.Pair]) -> NDArray[np.float32]:
        """Score pairs: float32 [pairs]."""
        scored = self.scorer.score(pairs)
        self.tokens += scored.tokens
        return scored.scores


def run(context: Context) -> Report:
    """Measure the trained student and its teacher; write evaluation.json and report.html."""
    return evaluated.run(context, _judge)


def _judge(context: Context, folder: Path, folders: Folders) -> Judged:
    lists = test_lists(folders.prepared, context.task.spec.evaluation)
    models = _models(context, folders)
    found = _measure(context, lists, models)
    models.teacher.scorer.close()
    tokens = models.teacher.tokens
    # Their memory is for the servers now.
    del models
    found = replace(found, served=benchmark.run(context, folders, _asking(context, lists)))
    status = evaluated.contested(context, folder, folders, found)
    return Judged(status, contest.facts(found), tokens)


def _asking(context: Context, lists: Listed) -> Callable[[Benchmark], Pair[list[Request]]]:
    """Return what makes the requests of users: the order of a query's documents.

    A BiEncoder's server embeds the same texts, every document anew, as in the timings.
    """
    kind = rankers.architecture(context.task.spec.student)

    def requests(asked: Benchmark) -> Pair[list[Request]]:
        most = asked.documents_per_request
        cut = [(query, documents[:most]) for query, documents in _asked(lists)]
        by_teacher = [asking.reranking(query, documents) for query, documents in cut]
        if kind is StudentArchitecture.CROSS_ENCODER:
            return Pair(by_teacher, by_teacher)
        embedding = [
            asking.embedding([query, *documents], input_type="document") for query, documents in cut
        ]
        return Pair(embedding, by_teacher)

    return requests


def test_lists(prepared: Path, evaluation: Evaluation) -> Listed:
    """Read the lists of the test; evaluation.corpus says of which splits their documents are."""
    keep = None
    if evaluation.corpus is Corpus.TEST:
        split = pq.read_table(prepared / "texts.parquet", columns=["split"])["split"].to_pylist()
        of_test = np.array([entry == "test" for entry in split], dtype=bool)

        def keep(documents: listed.Ids) -> NDArray[np.bool_]:
            return np.asarray(of_test[documents])

    lists = listed.load(prepared, "test", keep)
    if len(lists.queries) == 0:
        raise BadInput(
            Reason.BAD_DATA,
            "no query of the test split has a second document of that split in its list: set"
            " evaluation.corpus to All, or raise data.candidates.perQuery",
        )
    return lists


def _models(context: Context, folders: Folders) -> Pair[Counted]:
    """Open the student as it will be published, and its teacher.

    A quantised student runs on the processor, and so does then what it is timed against.
    """
    spec = context.task.spec
    batch = spec.evaluation.throughput_batch_size
    kind = rankers.architecture(spec.student)
    trust = evaluated.trusts(context.task)
    student = rankers.load(folders.trained / STUDENT, kind, trust=trust).eval()
    student.to(evaluated.device(context.task, folders))
    teacher = scoring.open_scorer(context)
    if isinstance(teacher, LocalScorer):
        teacher.model.to(evaluated.device(context.task, folders))
    weights = make.parameters(teacher.model) if isinstance(teacher, LocalScorer) else 0
    served = evaluated.as_published(context, student, folders)
    scorer = scorers.by_kind(served, kind, prompts(context.task), batch)
    return Pair(
        Counted(scorer, make.parameters(student)),
        Counted(teacher, weights),
    )


def _measure(context: Context, lists: Listed, models: Pair[Counted]) -> Contest:
    """Measure quality first, then speed."""
    spec = context.task.spec
    log.info("%d lists of %d documents", len(lists.queries), sum(map(len, lists.documents)))
    wanted = contest.measures(spec.evaluation)
    of_student = lists.divided(_scores(context, lists, models.student))
    results = Pair(_result(lists, wanted, of_student), _result(lists, wanted, lists.scores))
    return Contest(
        bench=Bench(lists.queries, lists.all_documents(), lists.relevant(), lists.texts),
        results=results,
        retentions=contest.retentions(results, spec.evaluation, seed=spec.training.seed),
        timings=_timings(context, lists, models),
        parameters=Pair(models.student.parameters, models.teacher.parameters),
        widths={},
    )


def _scores(context: Context, lists: Listed, student: Counted) -> NDArray[np.float32]:
    pairs = lists.pairs()
    tell = evaluated.teller(context, len(pairs), "pairs", QUALITY_SHARE)
    parts: list[NDArray[np.float32]] = []
    for begin in range(0, len(pairs), SCORED_TOGETHER):
        parts.append(student.score(pairs[begin : begin + SCORED_TOGETHER]))
        tell(len(parts[-1]))
    return np.concatenate(parts)


def _result(
    lists: Listed, measures: Sequence[str], scores: Sequence[NDArray[np.float32]]
) -> Result:
    ranking = lists.ranking(scores)
    return Result(ranking, retrieval.per_query(measures, lists.relevant(), ranking))


def _timings(context: Context, lists: Listed, models: Pair[Counted]) -> Pair[speed.Timings]:
    """Time both models on the same lists, in turns: one by one, and several at once.

    Every document is read anew, as a reranker behind `/rerank` has to; documents whose embeddings
    are kept would make a BiEncoder faster still.
    """
    evaluation = context.task.spec.evaluation
    asked = _asked(lists)
    longest = max(len(documents) for _, documents in asked)
    together = max(evaluation.throughput_batch_size // longest, 1)
    chosen = asked[:THROUGHPUT_LISTS]
    work = speed.Workload(
        requests=list(islice(cycle(asked), evaluation.latency_requests)),
        batches=[chosen[begin : begin + together] for begin in range(0, len(chosen), together)],
        rounds=evaluated.rounds(context),
        size=lambda one: len(one[1]),
    )
    both = Pair(models.student.order, models.teacher.order)
    return evaluated.timed(context, both, work, QUALITY_SHARE)


def _asked(lists: Listed) -> list[Asked]:
    """Return the lists as texts."""
    return [
        (lists.texts[query], tuple(lists.texts[one] for one in documents))
        for query, documents in zip(lists.queries.tolist(), lists.documents, strict=True)
    ]
