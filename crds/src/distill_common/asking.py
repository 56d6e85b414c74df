"""The one way in which a question becomes a conversation, and an answer is told from its reasoning.

Shared by who trains and measures a generator and who compares it with its teacher while it serves.
"""

import re
from typing import Final

from distill_api.teacher import Sampling

INSTRUCTION: Final = "Answer the question based on the context."
THINK: Final = (
    " Think step by step first, between <think> and </think>; write only the answer after it."
)

type Message = dict[str, str]

_TRACE = re.compile(r"^\s*(?:<think>)?(?P<thoughts>.*?)</think>(?P<answer>.*)$", re.DOTALL)


def chat(query: str, context: str, sampling: Sampling) -> list[Message]:
    """Return the messages of a question; the context is always in the prompt."""
    task = INSTRUCTION + (THINK if sampling.chain_of_thought else "")
    asked = f"{task}\n\nContext: {context}\n\nQuestion: {query}"
    user = {"role": "user", "content": asked}
    if not sampling.system_prompt:
        return [user]
    return [{"role": "system", "content": sampling.system_prompt}, user]


def divide(text: str) -> tuple[str | None, str]:
    """Part a text into reasoning and answer; None where it has no end of a reasoning."""
    found = _TRACE.match(text)
    if found is None:
        return None, text.strip()
    return found["thoughts"].strip(), found["answer"].strip()
