"""Log-probabilities of a server's tokens, and whether their numbers are those of a tokenizer.

A server that names tokens by their text does not tell which token it means: several have the same.
vLLM tells their ids, as `token_id:123`, where it is asked to by `return_tokens_as_token_ids`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from distill_api.names import Reason
from numpy.typing import NDArray

from distill_trainer.errors import BadInput
from distill_trainer.teachers.answers import Answer, Distributions

ASK: Final[Mapping[str, Any]] = {"logprobs": True, "return_tokens_as_token_ids": True}
"""What a request says for it; servers that know only the first name tokens by their text."""
NEVER: Final = -9999.0
"""What servers write for a probability of nothing."""
_TOKEN_ID: Final = re.compile(r"^token_id:(\d+)$")
_GONE: Final = re.compile(r"[\s\N{REPLACEMENT CHARACTER}]+")
"""What the same tokens may be written with or without."""


def read(
    told: Mapping[str, Any] | None,
) -> tuple[NDArray[np.uint32] | None, Distributions | None]:
    """Return ids and distributions of numbered tokens; none where their text names them.

    told: `logprobs` of a choice. Raises ValueError where some are numbered and others are not.
    """
    rows = (told or {}).get("content") or []
    if not rows or not all(_TOKEN_ID.match(str(row["token"])) for row in rows):
        return None, None
    ids = np.array([_number(row["token"]) for row in rows], dtype=np.uint32)
    if any(not row.get("top_logprobs") for row in rows):
        return ids, None
    width = max(len(row["top_logprobs"]) for row in rows)
    top_ids = np.zeros((len(rows), width), dtype=np.uint32)
    logprobs = np.full((len(rows), width), -np.inf, dtype=np.float32)
    for place, row in enumerate(rows):
        for column, one in enumerate(row["top_logprobs"]):
            top_ids[place, column] = _number(one["token"])
            if one["logprob"] > NEVER:
                logprobs[place, column] = one["logprob"]
    tail = [_tail(row) for row in logprobs]
    return ids, Distributions(top_ids, logprobs.astype(np.float16), np.array(tail, np.float32))


def check(answer: Answer, tokenizer: Any, url: str) -> None:
    """Refuse a server whose tokens have no numbers, or those of another tokenizer.

    What the tokenizer makes of the ids must hold the answer's text: a server may have taken the
    reasoning out of it, and blanks at its ends.
    """
    if answer.ids is None or answer.distributions is None:
        raise BadInput(
            Reason.TEACHER_UNREACHABLE,
            f"The teacher at {url} tells no ids of its tokens, and a recipe's logits need them:"
            " serve it with vLLM, which tells them where a request has"
            " return_tokens_as_token_ids and logprobs (as ours has), or learn from the text alone"
            " (outputs instead of logits, without teacher.sampling.topLogprobs)",
        )
    known = int(max(tokenizer.get_vocab().values())) + 1
    strange = [int(number) for number in answer.ids if number >= known]
    read_back = tokenizer.decode([int(one) for one in answer.ids], skip_special_tokens=True)
    if strange or _bare(answer.text) not in _bare(read_back):
        what = (
            f"it told the id {strange[0]}, and the tokenizer has {known} tokens"
            if strange
            else f'it wrote "{answer.text[:60]}", and its ids are "{read_back[:60]}" there'
        )
        raise BadInput(
            Reason.BAD_MODEL,
            f"teacher.endpoint.tokenizer is not the tokenizer of the teacher at {url}: {what}."
            " Name the served model's own folder",
        )


def _bare(text: str) -> str:
    return _GONE.sub("", text)


def _number(token: str) -> int:
    found = _TOKEN_ID.match(token)
    if found is None:
        raise ValueError(f"token {token!r} among numbered ones has no number")
    return int(found.group(1))


def _tail(logprobs: NDArray[np.float32]) -> float:
    """Log of the mass of what is not listed; -inf where nothing is left, rounding included."""
    rest = 1.0 - float(np.exp(logprobs[np.isfinite(logprobs)].astype(np.float64)).sum())
    return math.log(rest) if rest > 1e-9 else -math.inf
