"""The one way in which a query becomes a prompt: asked of the teacher, trained on, judged alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from distill_api.recipe import QueryTransformRecipe, QueryTransformTask
from distill_api.teacher import Sampling

from distill_trainer.texts.conversation import THINK, Message

SEPARATOR: Final = " ||| "
"""Between expansions that a student writes; not lost by tokenizers without line ends, as T5's."""
EXPAND: Final = "Generate {count} alternative search queries for: {query}\nFormat: {form}"
REWRITE: Final = (
    "Rewrite the last question so that it can be understood without the conversation before it."
    " Write only the question.\n\nConversation:\n{turns}\n\nLast question: {query}"
)
PREFIXES: Final = {
    QueryTransformTask.EXPANSION: "expand query: ",
    QueryTransformTask.REWRITE: "rewrite query: ",
}
"""What an encoder-decoder student reads before a query, as T5 was pretrained with."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a search text, and what was said before it."""

    text: str
    turns: tuple[str, ...] = ()
    """Earlier turns, oldest first; empty for expansions."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is done to a query."""

    task: QueryTransformTask
    count: int
    """Expansions that are asked for; 1 for a rewrite."""

    @property
    def least(self) -> int:
        """Expansions without which an answer is no list of them."""
        return min(self.count, 2)


def wanted(recipe: QueryTransformRecipe) -> Wanted:
    """Return what a recipe asks for."""
    expands = recipe.task is QueryTransformTask.EXPANSION
    return Wanted(recipe.task, recipe.expansions if expands else 1)


def chat(query: Query, wanted: Wanted, sampling: Sampling) -> list[Message]:
    """Return the conversation in which a causal model or a server is asked for a transform."""
    asked = instruction(wanted).format(
        query=query.text, turns="\n".join(f"- {turn}" for turn in query.turns) or "- (nothing)"
    )
    user = {"role": "user", "content": asked + (THINK if sampling.chain_of_thought else "")}
    if not sampling.system_prompt:
        return [user]
    return [{"role": "system", "content": sampling.system_prompt}, user]


def instruction(wanted: Wanted) -> str:
    """Return the instruction, with {query} and {turns} where those belong."""
    if wanted.task is QueryTransformTask.REWRITE:
        return REWRITE
    form = SEPARATOR.join(f"query{number}" for number in range(1, wanted.count + 1))
    return EXPAND.replace("{count}", str(wanted.count)).replace("{form}", form)


def source(query: Query, task: QueryTransformTask) -> str:
    """Return what an encoder-decoder student reads: a prefix, earlier turns, the query."""
    return PREFIXES[task] + SEPARATOR.join([*query.turns, query.text])


def written(transforms: Sequence[str]) -> str:
    """Return what a student learns to write."""
    return SEPARATOR.join(transforms)
