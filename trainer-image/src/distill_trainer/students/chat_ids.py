"""What a student that writes reads of a few conversations and prompts, kept beside its weights.

Made with the functions that make the tokens of training, on the tokenizer in memory: whatever
saving and loading it elsewhere changes (template, special tokens, where a text begins) shows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_api.token_ids import TOKEN_IDS_FILE, Sample, TextKind, TokenIds, Turn

from distill_trainer.students import samples
from distill_trainer.texts import conversation
from distill_trainer.texts.conversation import Message


def write(tokenizer: Any, real: list[Message], folder: Path) -> None:
    """Write the file into the student's folder.

    real: a conversation as training makes one, without a user's text.
    """
    content = make(tokenizer, real).model_dump_json(by_alias=True, exclude_none=True, indent=1)
    (folder / TOKEN_IDS_FILE).write_text(content + "\n", encoding="utf-8")


def make(tokenizer: Any, real: list[Message]) -> TokenIds:
    """Tokenise conversations as training does, and texts as a tokenizer does by itself."""
    return TokenIds(samples=[*_chats(tokenizer, real), *_prompts(tokenizer)])


def _chats(tokenizer: Any, real: list[Message]) -> Iterator[Sample]:
    for name, text in samples.TEXTS.items():
        yield _chat(tokenizer, name, [{"role": "user", "content": text}])
    yield _chat(tokenizer, "as in training", real)


def _chat(tokenizer: Any, name: str, messages: list[Message]) -> Sample:
    return Sample(
        name=name,
        kind=TextKind.CHAT,
        text=messages[-1]["content"],
        messages=[Turn.model_validate(message) for message in messages],
        tokens=conversation.prompt_ids(tokenizer, messages),
    )


def _prompts(tokenizer: Any) -> Iterator[Sample]:
    for name, text in samples.TEXTS.items():
        ids = [int(one) for one in tokenizer(text)["input_ids"]]
        if ids:  # a tokenizer that knows none of it makes nothing of a text
            yield Sample(name=name, kind=TextKind.PROMPT, text=text, tokens=ids)
