"""Whether teacher and student number their tokens alike, asked before the teacher works."""

from collections.abc import Mapping
from typing import Any

from distill_trainer.context import Context
from distill_trainer.sources import fetching


def check(context: Context, told: Mapping[str, Any]) -> None:
    """Refuse a student of another tokenizer for losses that compare token by token.

    Training refuses it, too; by then the teacher would have answered every question. told: what
    is known of the teacher's tokenizer.
    """
    spec = context.task.spec
    recipe, student = spec.recipe.generator or spec.recipe.query_transform, spec.student.model
    if recipe is None or student is None or told.get("tokenizer") is None:
        return
    from distill_trainer.students import causal
    from distill_trainer.training import gathering

    if gathering.needs_tokens(recipe):
        folder = fetching.fetch_model(context, student).path
        own = causal.load_tokenizer(folder, trust=student.trust_remote_code)
        gathering.check_tokens(own, told, recipe)
