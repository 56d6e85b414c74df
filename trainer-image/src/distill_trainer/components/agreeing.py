"""Whether teacher and student number their tokens alike, asked before the teacher works."""

from collections.abc import Mapping
from typing import Any

from distill_api.names import Reason
from distill_api.outcome import Evaluation, Measure

from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.sources import fetching


def check(context: Context, told: Mapping[str, Any]) -> None:
    """Refuse a student of another tokenizer for what compares token by token.

    Training refuses its losses, too; by then the teacher would have answered every question. told:
    what is known of the teacher's tokenizer.
    """
    spec = context.task.spec
    recipe, student = spec.recipe.generator or spec.recipe.query_transform, spec.student.model
    if recipe is None or student is None or told.get("tokenizer") is None:
        return
    from distill_trainer.students import causal
    from distill_trainer.training import gathering

    compared = _compares_likelihoods(spec.evaluation)
    if not compared and not gathering.needs_tokens(recipe):
        return
    folder = fetching.fetch_model(context, student).path
    own = causal.load_tokenizer(folder, trust=student.trust_remote_code)
    if not gathering.check_tokens(own, told, recipe) and compared:
        raise BadInput(
            Reason.BAD_RECIPE,
            "evaluation asks for Likelihood, the probability of a token, and the tokens of student"
            f" ({len(own)}) and teacher ({told['tokenizer']['size']}) are not the same: remove"
            " Likelihood from evaluation.measures and gates (ROUGE-L and TokenF1 compare texts),"
            " or take a student with the teacher's tokenizer",
        )


def _compares_likelihoods(evaluation: Evaluation) -> bool:
    gated = {gate.measure for gate in evaluation.gates or ()}
    return Measure.LIKELIHOOD in {*(evaluation.measures or ()), *gated}
