"""Wording by hand; a judge's answers by RAGAS' definitions; what is unscored is no number."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from distill_api.outcome import Evaluation
from distill_common import wording
from distill_trainer.measures import answering, judging
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.judging import Case
from numpy.typing import NDArray

CASE = Case("Where is it?", "It is in Paris.", "It is in Paris. It is tall.", "Paris. In France.")


def test_words_by_hand():
    # Longest common subsequence: the, cat, mat of 4 and 5 words.
    assert wording.rouge_l("The cat, the mat", "the cat on a mat") == pytest.approx(6 / 9)
    assert wording.token_f1("a b b", "b b c") == pytest.approx(4 / 6)
    assert wording.token_f1("", "") == wording.rouge_l("", "") == 1.0
    assert wording.rouge_l("", "something") == 0.0


def says(*answers: str) -> judging.Say:
    left = iter(answers)
    return lambda _prompt: next(left)


def test_faithfulness_is_the_share_of_supported_statements():
    say = says(
        '```json\n{"statements": ["It is in Paris.", "It is tall."]}```', '{"verdicts": [1, 0]}'
    )
    assert judging.faithfulness(say, CASE) == 0.5


def test_context_recall_is_the_share_of_the_references_sentences():
    assert judging.context_recall(says('{"verdicts": [1, 0]}'), CASE) == 0.5
    assert math.isnan(judging.context_recall(says(), Case("q", "c", "a")))


def test_relevancy_is_the_mean_cosine_of_guessed_questions():
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        places = {"Where is it?": (1, 0), "same": (2, 0), "other": (0, 1)}
        return np.array([places[text] for text in texts], dtype=np.float32)

    guesses = ['{"question": "same", "noncommittal": 0}'] * 2 + ['{"question": "other"}']
    assert judging.relevancy(says(*guesses), embed, CASE) == pytest.approx(2 / 3)
    odd = ['{"question": "same", "noncommittal": [0]}'] * 3
    assert judging.relevancy(says(*odd), embed, CASE) == pytest.approx(1)
    evasive = ['{"question": "same", "noncommittal": 1}'] * 3
    assert judging.relevancy(says(*evasive), embed, CASE) == 0.0


@pytest.mark.parametrize(
    "told", ["no JSON", "{broken", '{"statements": []}', '{"statements": [1]}', "[]"]
)
def test_what_the_judge_does_not_answer_as_asked_is_unscored(told: str):
    assert math.isnan(judging.faithfulness(says(told), CASE))


def test_another_number_of_verdicts_is_unscored():
    say = says('{"statements": ["a", "b"]}', '{"verdicts": [1]}')
    assert math.isnan(judging.faithfulness(say, CASE))


def test_unscored_questions_are_left_out_of_both_means():
    values = Pair(
        {"Faithfulness": np.array([0.5, math.nan, 1.0])},
        {"Faithfulness": np.array([1.0, 1.0, math.nan])},
    )
    kept = answering.retentions(values, Evaluation(bootstrap_samples=100), seed=1)
    assert kept["Faithfulness"] is not None
    assert kept["Faithfulness"].value == 0.5
    nothing = Pair({"F": np.array([math.nan])}, {"F": np.array([1.0])})
    assert answering.retentions(nothing, Evaluation(), seed=1) == {"F": None}
