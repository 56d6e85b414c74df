"""Both models' answers before a judge: a server that spec.evaluation.judge names."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from distill_api.outcome import Judge, Measure
from distill_api.teacher import Endpoint, Sampling

from distill_trainer.context import Context
from distill_trainer.measures import judging
from distill_trainer.measures.answering import JUDGED, Asked, Values
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.judging import Case, Embed, Say
from distill_trainer.teachers.answers import Ask
from distill_trainer.teachers.chat_endpoint import ChatEndpoint
from distill_trainer.teachers.endpoint import Budget, EndpointTeacher, Whose

SAMPLING = Sampling(temperature=0, max_tokens=1024)
JUDGE = Whose("The judge", "evaluation.judge.endpoint")
EMBEDDER = Whose("The judge's server of embeddings", "evaluation.judge.embeddings")

log = logging.getLogger(__name__)


def values(
    context: Context, wanted: Sequence[Measure], asked: list[Asked], texts: Pair[list[str]]
) -> dict[str, Pair[Values]]:
    """Return each judged measure of both models; NaN where unscored. Empty without a judge."""
    told = context.task.spec.evaluation.judge
    if told is None:
        return {}
    budget = Budget(told.endpoint.token_budget, whose=JUDGE)
    server = ChatEndpoint(told.endpoint, context.secrets.key(told.endpoint), SAMPLING, budget)
    embedder = None if told.embeddings is None else _embedder(context, told.embeddings)

    def say(prompt: str) -> str:
        return server.answer([Ask((("user", prompt),))])[0].text

    pool = ThreadPoolExecutor(told.endpoint.max_concurrency)
    judge = partial(_of_all, context, pool, (say, embedder))
    try:
        return {
            measure.value: _of_both(measure, asked, texts, judge)
            for measure in measures(told, wanted)
        }
    finally:
        pool.shutdown(cancel_futures=True)
        server.close()


def _of_both(
    measure: Measure,
    asked: list[Asked],
    texts: Pair[list[str]],
    judge: Callable[[Measure, list[Case]], Values],
) -> Pair[Values]:
    of_student = judge(measure, _cases(asked, texts.student))
    if measure is Measure.CONTEXT_RECALL:
        return Pair(of_student, of_student)  # of context and reference, whoever has answered
    return Pair(of_student, judge(measure, _cases(asked, texts.teacher)))


def measures(judge: Judge, wanted: Sequence[Measure]) -> list[Measure]:
    """List what a judge can measure; relevancy needs embeddings."""
    able = [one for one in JUDGED if one is not Measure.RELEVANCY or judge.embeddings is not None]
    return [one for one in able if one in wanted]


def _embedder(context: Context, endpoint: Endpoint) -> Embed:
    budget = Budget(endpoint.token_budget, whose=EMBEDDER)
    teacher = EndpointTeacher(endpoint, context.secrets.key(endpoint), 8, budget)
    return lambda texts: teacher.embed(texts, prompt="").vectors


def _cases(asked: list[Asked], texts: list[str]) -> list[Case]:
    return [
        Case(one.query, one.context, text, one.reference if one.from_data else None)
        for one, text in zip(asked, texts, strict=True)
    ]


def _of_all(
    context: Context,
    pool: ThreadPoolExecutor,
    tools: tuple[Say, Embed | None],
    measure: Measure,
    cases: list[Case],
) -> Values:
    """Judge as many cases at once as the judge's server may be asked."""
    say, embed = tools
    found = []
    for value in pool.map(lambda case: _of(measure, case, say, embed), cases):
        context.check_stop()
        found.append(value)
    return np.array(found, dtype=np.float64)


def _of(measure: Measure, case: Case, say: Say, embed: Embed | None) -> float:
    if measure is Measure.FAITHFULNESS:
        return judging.faithfulness(say, case)
    if measure is Measure.CONTEXT_RECALL:
        return judging.context_recall(say, case)
    assert embed is not None, "left out without embeddings"
    return judging.relevancy(say, embed, case)
