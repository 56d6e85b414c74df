"""Label: the teacher answers every question from its context; answers are kept for all jobs."""

import logging
from pathlib import Path
from typing import Final

from distill_api.wire import Report
from distill_common.rows import Question

from distill_trainer.components import answering, labels
from distill_trainer.components.answering import Work
from distill_trainer.components.labels import Inputs
from distill_trainer.context import Context
from distill_trainer.labelling import asking
from distill_trainer.labelling.corpus import normal
from distill_trainer.preparing import sufficiency
from distill_trainer.sources import records
from distill_trainer.teachers import answers, generating
from distill_trainer.teachers.answers import Ask, Generator
from distill_trainer.workspace import Draft

SETTINGS: Final = answering.SETTINGS

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Ask the teacher every question of the data."""
    return labels.run(context, _read, _label)


def _label(
    context: Context, draft: Draft, found: tuple[list[Question], int], inputs: Inputs
) -> Report:
    questions, empty = found
    asking.write_questions(draft.path / asking.QUESTIONS, questions)
    tokenizer = answering.ask(context, draft, _work(context, questions, inputs.teacher_path))
    known = {"empty": empty, **inputs.digests, **tokenizer}
    return answering.report(draft, answering.describe(context, draft, len(questions), known))


def _work(context: Context, questions: list[Question], folder: Path | None) -> Work:
    sampling = context.task.spec.teacher.sampling

    def ask(place: int, number: int) -> Ask:
        one = questions[place]
        return answers.ask(one.query, one.context, sampling, number)

    def opened(spent: int) -> Generator:
        return generating.open_generator(context, folder, spent=spent)

    return Work(len(questions), ask, opened)


def _read(context: Context, path: Path) -> tuple[list[Question], int]:
    """Read the questions; returns how many rows had none, too."""
    data = context.task.spec.data
    rows = list(records.questions(path, data.source.format, data.columns, data.max_records))
    found = [row for row in rows if row is not None]
    log.info("%d rows, %d questions with a context", len(rows), len(found))
    empty = [number for number, row in enumerate(rows, 1) if row is None]
    pairs = [(normal(one.query), normal(one.context)) for one in found]
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row is not None and row.group is not None:
            first.setdefault(row.group, number)
    sufficiency.check_pairs(len(set(pairs)), len(pairs), empty)
    sufficiency.check_divided(sufficiency.Rows(pairs, [one.group for one in found], first), data)
    return found, len(empty)
