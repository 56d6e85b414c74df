"""What the label stages of all components with a generating teacher do alike."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report
from pyarrow import parquet

from distill_trainer.components import agreeing, labels
from distill_trainer.components.labels import Counter as Progress
from distill_trainer.components.labels import Making
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import asking
from distill_trainer.labelling.asking import Shard
from distill_trainer.teachers import answers
from distill_trainer.teachers.answers import Answer, Ask, Generator
from distill_trainer.workspace import Draft

SETTINGS: Final = "label.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What a generating teacher is asked."""

    questions: int
    ask: Callable[[int, int], Ask]
    """Makes the conversation of a question; the number tells several answers to it apart."""
    open: Callable[[int], Generator]
    """Opens the teacher; told the tokens of earlier attempts."""


def ask(context: Context, draft: Draft, work: Work) -> dict[str, Any]:
    """Make every shard that is missing; returns what is known of the teacher's tokenizer."""
    each = context.task.spec.teacher.sampling.answers_per_prompt
    plan = asking.plan(work.questions)
    present = [one for one in plan if asking.is_whole(draft.path / one.name, one, each)]
    spent = sum(asking.tokens(draft.path / shard.name) for shard in present)
    done = sum(shard.stop - shard.start for shard in present)
    progress = Progress(context, work.questions * each, done * each)
    teacher = work.open(spent)
    agreeing.check(context, tokenizer(teacher))
    progress.begin()
    try:
        labels.fill(draft, plan, progress, _making(work, each, teacher))
    finally:
        teacher.close()
    return tokenizer(teacher)


def _making(work: Work, each: int, teacher: Generator) -> Making[Shard]:
    def content(shard: Shard, tell: labels.Tell) -> bytes:
        asked = [
            work.ask(question, number)
            for question in range(shard.start, shard.stop)
            for number in range(each)
        ]
        found = teacher.answer(asked, tell)
        _warn_of_flaws(found)
        return asking.encode(shard, found, each)

    return Making(lambda path, shard: asking.is_whole(path, shard, each), content, each)


def _warn_of_flaws(found: Sequence[Answer]) -> None:
    """Say while the teacher works, not hours later, that most of it will be thrown away."""
    flaws = Counter(one.flaw.value for one in found if one.flaw is not None)
    if 2 * flaws.total() > len(found):
        listed = ", ".join(f"{count} {flaw}" for flaw, count in flaws.most_common())
        log.warning(
            "most of %d answers cannot be learnt from: %s; see teacher.sampling", len(found), listed
        )


def tokenizer(teacher: Generator) -> dict[str, Any]:
    """Tell which tokens the teacher writes and how its conversations are written down."""
    from distill_trainer.teachers.chat_endpoint import ChatEndpoint
    from distill_trainer.teachers.local_generator import LocalGenerator
    from distill_trainer.teachers.local_seq2seq import LocalSeq2Seq
    from distill_trainer.texts import conversation

    if isinstance(teacher, ChatEndpoint):
        # Only the server knows the template that its conversations are written down by.
        known, template = teacher.tokenizer, False
    elif isinstance(teacher, LocalGenerator):
        known, template = teacher.causal.tokenizer, True
    elif isinstance(teacher, LocalSeq2Seq):
        known, template = teacher.seq2seq.tokenizer, False
    else:
        known, template = None, False
    if known is None:
        return {"tokenizer": None, "template": None}
    return {
        "tokenizer": {"hash": conversation.vocabulary_hash(known), "size": len(known)},
        "template": conversation.template_hash(known) if template else None,
    }


def describe(
    context: Context, draft: Draft, questions: int, known: dict[str, Any]
) -> dict[str, Any]:
    """Write label.json: what was asked of whom, and what became of the answers."""
    sampling = context.task.spec.teacher.sampling
    plan = asking.plan(questions)
    flaws: Counter[str | None] = Counter()
    widths: set[int] = set()
    for shard in plan:
        table = parquet.read_table(draft.path / shard.name, columns=["flaw", "top_ids", "tail"])
        flaws.update(table["flaw"].to_pylist())
        for ids, tail in zip(table["top_ids"], table["tail"], strict=True):
            if tail.is_valid and len(tail):
                widths.add(len(ids) // len(tail))
    settings = {
        **known,
        "rows": known.get("rows", questions + known["empty"]),
        "questions": questions,
        "answers": sum(flaws.values()),
        "usable": flaws.pop(None, 0),
        "flaws": dict(flaws.most_common()),
        "tokens": sum(asking.tokens(draft.path / shard.name) for shard in plan),
        "topLogprobs": {"asked": sampling.top_logprobs, "stored": max(widths, default=0)},
        "sampling": sampling.model_dump(mode="json", by_alias=True),
        "max_length": context.task.spec.teacher.max_length,
        "shards": [shard.name for shard in plan],
    }
    if not settings["usable"]:
        raise _all_flawed(settings)
    draft.folder.write(SETTINGS, json.dumps(settings, indent=1).encode())
    return settings


def _all_flawed(settings: dict[str, Any]) -> BadInput:
    listed = ", ".join(f"{count} {flaw}" for flaw, count in settings["flaws"].items())
    return BadInput(
        Reason.BAD_DATA,
        f"None of the teacher's {settings['answers']} answers can be learnt from: {listed}. Raise"
        " teacher.sampling.maxTokens where they are truncated; else change the prompt or teacher",
    )


def report(draft: Draft, settings: dict[str, Any]) -> Report:
    """Return the stage's report."""
    flaws = settings["flaws"]
    lost = ", ".join(f"{count} {flaw}" for flaw, count in flaws.items())
    return Report(
        stage=Stage.LABEL,
        outcome="Done",
        fingerprint=draft.fingerprint,
        summary=(
            f"{settings['usable']} of {settings['answers']} answers to {settings['questions']}"
            f" questions can be learnt from{'; not: ' + lost if lost else ''}"
        )[:400],
        usage=Usage(teacher_tokens=settings["tokens"]),
        facts={
            "texts": str(settings["questions"]),
            "rows": str(settings["rows"]),
            "emptyRows": str(settings["empty"]),
            "answers": str(settings["answers"]),
            "truncated": str(flaws.get(answers.Flaw.TRUNCATED.value, 0)),
            "refused": str(flaws.get(answers.Flaw.REFUSED.value, 0)),
            "topLogprobsStored": str(settings["topLogprobs"]["stored"]),
        },
    )
