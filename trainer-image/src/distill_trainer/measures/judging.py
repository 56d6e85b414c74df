"""Answers judged by a language model, as RAGAS defines it; what it does not judge is no number.

Source: Es et al. 2023, arXiv:2309.15217.

| measure        | what is asked                                         | value                   |
|----------------|-------------------------------------------------------|-------------------------|
| faithfulness   | each statement of the answer: does the context say it | share that is supported |
| relevancy      | questions that the answer would answer                | mean cosine to the real |
| context recall | each sentence of the reference: the same              | share that is supported |
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

QUESTIONS: Final = 3
"""Questions that are guessed from an answer, as in the paper."""
UNSCORED: Final = math.nan

STATEMENTS: Final = (
    "Break the answer below into short statements that each stand alone, without pronouns. Reply"
    ' with JSON only: {{"statements": ["..."]}}\n\nQuestion: {question}\n\nAnswer: {answer}'
)
SUPPORTED: Final = (
    "For each numbered statement decide whether it can be inferred from the context alone. Reply"
    ' with JSON only, one 1 (yes) or 0 (no) for each: {{"verdicts": [1, 0]}}\n\nContext:'
    " {context}\n\nStatements:\n{statements}"
)
GUESSED: Final = (
    "Write a question that the answer below would answer. Say also whether the answer avoids an"
    ' answer (such as "I don\'t know"). Reply with JSON only: {{"question": "...", "noncommittal":'
    " 0}}\n\nAnswer: {answer}"
)

type Say = Callable[[str], str]
"""Asks the judge; returns its answer's text."""
type Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Embeds texts: [texts, width]."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_JSON = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged."""

    question: str
    context: str
    answer: str
    reference: str | None = None


def faithfulness(say: Say, case: Case) -> float:
    """Share of the answer's statements that the context supports; NaN where unscored."""
    told = _read(say(STATEMENTS.format(question=case.question, answer=case.answer)))
    statements: Any = told.get("statements")
    if not _texts(statements):
        return UNSCORED
    return _supported(say, case.context, statements)


def context_recall(say: Say, case: Case) -> float:
    """Share of the reference's sentences that the context supports; NaN where unscored."""
    sentences = [one for one in _SENTENCE.split((case.reference or "").strip()) if one]
    return _supported(say, case.context, sentences) if sentences else UNSCORED


def relevancy(say: Say, embed: Embed, case: Case) -> float:
    """Mean cosine of guessed questions to the real one, 0 for an evasive answer; NaN likewise."""
    told = [_read(say(GUESSED.format(answer=case.answer))) for _ in range(QUESTIONS)]
    questions = [one.get("question") for one in told]
    if not _texts(questions):
        return UNSCORED
    if any(one.get("noncommittal") in (1, "1") for one in told):
        return 0.0
    rows = embed([case.question, *map(str, questions)]).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        return UNSCORED
    unit = rows / norms
    return float((unit[1:] @ unit[0]).mean())


def _supported(say: Say, context: str, statements: Sequence[str]) -> float:
    numbered = "\n".join(f"{place}. {one}" for place, one in enumerate(statements, start=1))
    told = _read(say(SUPPORTED.format(context=context, statements=numbered))).get("verdicts")
    if not isinstance(told, list) or len(told) != len(statements):
        return UNSCORED
    if any(one not in (0, 1) for one in told):
        return UNSCORED
    return sum(map(int, told)) / len(told)


def _texts(value: Any) -> TypeGuard[list[str]]:
    """Tell whether a value is a list of at least one text."""
    return bool(
        isinstance(value, list)
        and value
        and all(isinstance(one, str) and one.strip() for one in value)
    )


def _read(text: str) -> dict[str, Any]:
    """Read the JSON object in a judge's answer; empty where there is none."""
    found = _JSON.search(text)
    try:
        value = json.loads(found.group(0)) if found else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
