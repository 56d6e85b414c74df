"""What a rollout carries from pass to pass, as JSON and back without loss."""

from typing import Any, Final

from pydantic import TypeAdapter

from distill_operator.plan.rollout.course import State
from distill_operator.plan.rollout.phases import RESTING, Phase

KEPT: Final = RESTING | {Phase.PROMOTED}
"""Phases that a rollout keeps though its record cannot be read."""
_STATE: Final = TypeAdapter(State)


def dump(state: State) -> dict[str, Any]:
    """Return the state as JSON: times as RFC 3339 text, enumerations by their values."""
    found: dict[str, Any] = _STATE.dump_python(state, mode="json")
    return found


def load(raw: Any) -> State:
    """Return the state that was dumped; a pydantic ValidationError where it is another's."""
    return _STATE.validate_python(raw)
