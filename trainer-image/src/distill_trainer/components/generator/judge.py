"""Both models' answers before a judge: a server that spec.evaluation.judge names."""

import logging
from collections.abc import Sequence

import numpy as np
from distill_api.outcome import Judge, Measure
from distill_api.teacher import Endpoint, Sampling

from distill_trainer.context import Context
from distill_trainer.measures import judging
from distill_trainer.measures.answering import JUDGED, Asked, Values
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.judging import Case, Embed, Say
from distill_trainer.teachers import generating
from distill_trainer.teachers.answers import Ask
from distill_trainer.teachers.endpoint import Budget, EndpointTeacher

SAMPLING = Sampling(temperature=0, max_tokens=1024)

log = logging.getLogger(__name__)


def values(
    context: Context, wanted: Sequence[Measure], asked: list[Asked], texts: Pair[list[str]]
) -> dict[str, Pair[Values]]:
    """Return each judged measure of both models; NaN where unscored. Empty without a judge."""
    told = context.task.spec.evaluation.judge
    if told is None:
        return {}
    server = generating.open_endpoint(context, told.endpoint, SAMPLING)
    embedder = None if told.embeddings is None else _embedder(context, told.embeddings)

    def say(prompt: str) -> str:
        return server.answer([Ask((("user", prompt),))])[0].text

    try:
        return {
            measure.value: Pair(
                _of_all(context, measure, _cases(asked, texts.student), (say, embedder)),
                _of_all(context, measure, _cases(asked, texts.teacher), (say, embedder)),
            )
            for measure in measures(told, wanted)
        }
    finally:
        server.close()


def measures(judge: Judge, wanted: Sequence[Measure]) -> list[Measure]:
    """List what a judge can measure; relevancy needs embeddings."""
    able = [one for one in JUDGED if one is not Measure.RELEVANCY or judge.embeddings is not None]
    return [one for one in able if one in wanted]


def _embedder(context: Context, endpoint: Endpoint) -> Embed:
    ref = endpoint.api_key_secret_ref
    key = context.secrets.read(ref, ref.key) if ref is not None else None
    teacher = EndpointTeacher(endpoint, key, 8, Budget(endpoint.token_budget))
    return lambda texts: teacher.embed(texts, prompt="").vectors


def _cases(asked: list[Asked], texts: list[str]) -> list[Case]:
    return [
        Case(one.query, one.context, text, one.reference if one.from_data else None)
        for one, text in zip(asked, texts, strict=True)
    ]


def _of_all(
    context: Context, measure: Measure, cases: list[Case], tools: tuple[Say, Embed | None]
) -> Values:
    say, embed = tools
    found = []
    for case in cases:
        context.check_stop()
        found.append(_of(measure, case, say, embed))
    return np.array(found, dtype=np.float64)


def _of(measure: Measure, case: Case, say: Say, embed: Embed | None) -> float:
    if measure is Measure.FAITHFULNESS:
        return judging.faithfulness(say, case)
    if measure is Measure.CONTEXT_RECALL:
        return judging.context_recall(say, case)
    assert embed is not None, "left out without embeddings"
    return judging.relevancy(say, embed, case)
