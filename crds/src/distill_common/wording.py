"""How much of a reference an answer says in the same words.

ROUGE-L: Lin 2004, F-measure of the longest common subsequence. Token F1: Rajpurkar et al. 2016,
arXiv:1606.05250, of the bags of words. Texts are normalised alike: lower case, words only.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from distill_api.outcome import Measure

_WORD = re.compile(r"\w+", re.UNICODE)


def words(text: str) -> list[str]:
    """Return the words of a text, in small letters."""
    return _WORD.findall(text.casefold())


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1 of an answer, 0 to 1; 1 where both say nothing."""
    own, theirs = words(answer), words(reference)
    return _f1(_longest_common(own, theirs), len(own), len(theirs))


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words that both have, 0 to 1; 1 where both say nothing."""
    own, theirs = words(answer), words(reference)
    return _f1((Counter(own) & Counter(theirs)).total(), len(own), len(theirs))


def _f1(common: int, own: int, theirs: int) -> float:
    if own == theirs == 0:
        return 1.0
    return 2 * common / (own + theirs)


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by rows of the usual table."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, same in enumerate(other, start=1):
            above = row[place]
            row[place] = before + 1 if word == same else max(above, row[place - 1])
            before = above
    return row[-1]


MEASURES: Final[Mapping[str, Callable[[str, str], float]]] = {
    Measure.TOKEN_F1.value: token_f1,
    Measure.ROUGE_L.value: rouge_l,
}
"""Name to measure of an answer and its reference."""
