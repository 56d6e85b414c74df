"""A teacher as vLLM takes it: in a folder that its container sees, and with a chat template."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from distill_api import wire

from distill_trainer.context import Context
from distill_trainer.students import causal
from distill_trainer.texts import conversation

FOLDER: Final = Path(wire.VLLM_PROGRAM).parent.name
"""In the scratch folder, which both containers see."""


def seen(context: Context, folder: Path) -> Path:
    """Return a folder of the model that vLLM's container sees: not one of this image's own."""
    source = context.task.spec.teacher.model
    if source is None or not source.uri.startswith("file://"):
        return folder
    place = context.scratch / FOLDER / "teacher"
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(folder, place))


def chat_template(context: Context, folder: Path) -> Sequence[str]:
    """Return vLLM's arguments for a model without a template: the one by which it was asked."""
    source = context.task.spec.teacher.model
    trust = source is not None and source.trust_remote_code
    if causal.load_tokenizer(folder, trust=trust).chat_template:
        return ()
    file = context.scratch / FOLDER / "plain.jinja"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(conversation.PLAIN, encoding="utf-8")
    return ("--chat-template", str(file))
