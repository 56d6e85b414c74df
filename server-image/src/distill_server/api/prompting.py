"""Which of the model's prompts goes before a text."""

from typing import Final, Literal

from distill_server.errors import BadRequest
from distill_server.models.served import Served

type InputType = Literal["query", "document", "search_query", "search_document"]

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""What models call their prompts, by what a text is; as sentence-transformers looks for them."""


def choose(model: Served, input_type: InputType | None, name: str | None) -> str | None:
    """Return the prompt: by its name, else by what the text is, else the model's default one."""
    if name is not None:
        return _named(model, name)
    if input_type is not None:
        known = NAMES[input_type.removeprefix("search_")]
        return next((model.prompts[own] for own in known if own in model.prompts), None)
    return model.prompts.get(model.default_prompt) if model.default_prompt else None


def _named(model: Served, name: str) -> str:
    if name not in model.prompts:
        known = ", ".join(sorted(model.prompts)) or "none"
        raise BadRequest(f"the model has no prompt {name!r}; its prompts: {known}")
    return model.prompts[name]
