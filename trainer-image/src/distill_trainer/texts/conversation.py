"""The one way in which a question becomes a conversation: asked, trained on and judged alike."""

import hashlib
from typing import Any, Final

from distill_api.teacher import Sampling
from distill_common.asking import INSTRUCTION, THINK, Message, chat, divide

__all__ = ["INSTRUCTION", "PLAIN", "THINK", "Message", "Sampling", "chat", "divide", "end_id",
           "ensure_template", "prompt_ids", "target_ids", "template_hash", "vocabulary_hash",
           "whole"]  # fmt: skip

PLAIN: Final = (
    "{{ bos_token if bos_token else '' }}{% for message in messages %}"
    "{{ message['content'] + '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer: ' }}{% endif %}"
)
"""Template of a model that has none: a base model, which knows no roles."""


def ensure_template(tokenizer: Any) -> None:
    """Give a tokenizer without a chat template the plain one; it is saved with the student."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN


def template_hash(tokenizer: Any) -> str:
    """Digest a tokenizer's chat template."""
    return "sha256:" + hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def vocabulary_hash(tokenizer: Any) -> str:
    """Digest which id stands for which token: equal for tokenizers whose ids mean the same."""
    named = sorted((number, token) for token, number in tokenizer.get_vocab().items())
    return "sha256:" + hashlib.sha256(repr(named).encode()).hexdigest()


def prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Return the token ids of a conversation up to where the answer begins.

    The template writes the beginning-of-sequence token itself; a second one is never added.
    """
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_id(tokenizer: Any) -> int:
    """Return the token that ends an answer in the template; the tokenizer's own otherwise."""
    probe = "answer-probe"
    told = [{"role": "user", "content": "q"}, {"role": "assistant", "content": probe}]
    text = tokenizer.apply_chat_template(told, tokenize=False)
    rest = text[text.rfind(probe) + len(probe) :].strip()
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if rest else []
    known = ids and ids[0] in set(tokenizer.all_special_ids)
    return int(ids[0] if known else tokenizer.eos_token_id)


def target_ids(tokenizer: Any, answer: str) -> list[int]:
    """Return the token ids of an answer, with the token that ends it."""
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return [*ids, end_id(tokenizer)]


def whole(thoughts: str | None, answer: str) -> str:
    """Return what the student learns to write: reasoning, where there is some, and answer."""
    return answer if thoughts is None else f"<think>\n{thoughts}\n</think>\n\n{answer}"
