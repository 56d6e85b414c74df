"""Label: the teacher expands or rewrites every query; what it wrote is kept for all jobs."""

import logging
from pathlib import Path
from typing import Final

from distill_api.names import Reason
from distill_api.recipe import QueryTransformTask
from distill_api.wire import Report

from distill_trainer.components import answering, labels
from distill_trainer.components.answering import Work
from distill_trainer.components.labels import Inputs
from distill_trainer.components.querytransform import models
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import searching
from distill_trainer.labelling.searching import Searches
from distill_trainer.preparing import sufficiency
from distill_trainer.sources import records
from distill_trainer.teachers.answers import Ask, Generator
from distill_trainer.workspace import Draft

SETTINGS: Final = answering.SETTINGS

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Ask the teacher to transform every different query of the data."""
    return labels.run(context, _read, _label)


def _read(context: Context, path: Path) -> Searches:
    """Read queries and documents; what is too little is refused before the teacher works."""
    data = context.task.spec.data
    rewrites = models.wanted(context.task).task is QueryTransformTask.REWRITE
    rows = records.searches(path, data.source.format, data.columns, data.max_records)
    found = searching.collect(rows, turns=rewrites)
    log.info("%d queries, %d documents", len(found.queries), len(found.documents))
    if rewrites and not found.with_turns:
        raise BadInput(
            Reason.BAD_DATA,
            f'The data has no row with text in the column "{data.columns.context}": task Rewrite'
            " lets a question stand alone that needs the turns before it. Name their column in"
            " data.columns.context, or use task Expansion",
        )
    pairs, groups = found.pairs(), [group for _, _, group in found.relevant]
    sufficiency.check_pairs(len(set(pairs)), len(pairs), rejected=found.rejected)
    sufficiency.check_divided(sufficiency.Rows(pairs, groups, found.first), data)
    return found


def _label(context: Context, draft: Draft, found: Searches, inputs: Inputs) -> Report:
    searching.write(found, draft.path)
    tokenizer = answering.ask(context, draft, _work(context, found, inputs.teacher_path))
    known = {"rows": found.rows, "empty": found.empty, **inputs.digests, **tokenizer}
    settings = answering.describe(context, draft, len(found.queries), known)
    return answering.report(draft, settings)


def _work(context: Context, found: Searches, folder: Path | None) -> Work:
    sampling = context.task.spec.teacher.sampling
    ask_for = models.asker(models.wanted(context.task), sampling)
    queries = list(found.queries)

    def ask(place: int, number: int) -> Ask:
        return ask_for(queries[place], number)

    def opened(spent: int) -> Generator:
        return models.open_teacher(context, sampling, folder, spent=spent)

    return Work(len(queries), ask, opened)
