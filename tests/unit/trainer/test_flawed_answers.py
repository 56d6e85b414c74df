"""Answers that nothing can be learnt from are told while the teacher works."""

import logging

import pytest
from distill_trainer.components import answering
from distill_trainer.teachers.answers import Answer, Flaw

CUT = Answer("The function takes", flaw=Flaw.TRUNCATED)
WHOLE = Answer("It sorts.")


@pytest.mark.parametrize(("cut", "lines"), [(3, 1), (2, 0)])
def test_a_piece_of_the_data_whose_answers_are_mostly_cut_off(
    cut: int, lines: int, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        answering._warn_of_flaws([CUT] * cut + [WHOLE] * 2)
    assert caplog.text.count("3 truncated at maxTokens; see teacher.sampling") == lines
