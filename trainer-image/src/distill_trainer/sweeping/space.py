"""What a sweep varies: fields of the spec, their values, and the specs that come of them."""

import json
from collections.abc import Mapping
from typing import Any

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason
from distill_api.training import SweepParameter
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from distill_trainer.errors import BadInput

type Values = Mapping[str, Any]
"""Path → value as Optuna gives it: a number, or one of the spec's values as JSON text."""


def distributions(spec: DistillationJobSpec) -> dict[str, BaseDistribution]:
    """Return what each parameter is drawn from; BadInput where the spec cannot take its values."""
    assert spec.sweep is not None
    return {
        parameter.path: _distribution(spec, parameter)
        for parameter in sorted(spec.sweep.parameters, key=lambda parameter: parameter.path)
    }


def applied(spec: DistillationJobSpec, values: Values) -> DistillationJobSpec:
    """Return the spec of one trial, without the sweep; BadInput where a value does not fit."""
    plain = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    plain.pop("sweep", None)
    for path, value in values.items():
        _set(plain, path, json.loads(value) if isinstance(value, str) else value)
    try:
        return DistillationJobSpec.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            Reason.BAD_RECIPE,
            f"spec.sweep cannot try {_told(values)}: {place}: {first['msg']}. Correct the values"
            " or the range of that parameter",
        ) from error


def told(value: Any) -> str:
    """Write a value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _distribution(spec: DistillationJobSpec, parameter: SweepParameter) -> BaseDistribution:
    if parameter.values is not None:
        for value in parameter.values:
            applied(spec, {parameter.path: _json(parameter, value)})
        return CategoricalDistribution(parameter.values)
    low, high = parameter.min, parameter.max
    assert low is not None
    assert high is not None
    if _takes_fractions(spec, parameter.path, low, high):
        for end in (low, high):
            applied(spec, {parameter.path: end})
        return FloatDistribution(low, high, log=parameter.log_scale)
    for end in (low, high):
        applied(spec, {parameter.path: int(end)})
    return IntDistribution(int(low), int(high), log=parameter.log_scale)


def _takes_fractions(spec: DistillationJobSpec, path: str, low: float, high: float) -> bool:
    """Tell whether a number that is not whole fits; whole numbers alone are drawn if not."""
    between = low + (high - low) * 0.381966
    fraction = between if between != int(between) else between + (high - low) * 0.01
    try:
        applied(spec, {path: fraction})
    except BadInput:
        return False
    return True


def _json(parameter: SweepParameter, value: str) -> str:
    try:
        json.loads(value)
    except ValueError as error:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"spec.sweep.parameters: the value {value} of {parameter.path} is no JSON: write"
            " numbers plainly and texts in double quotes inside the string, as '\"Cosine\"'",
        ) from error
    return value


def _set(plain: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a path whose parents are there; a loss is not switched on by its knob."""
    *parents, last = path.split(".")
    here = plain
    for depth, name in enumerate(parents):
        if not isinstance(here.get(name), dict):
            raise BadInput(
                Reason.BAD_RECIPE,
                f"spec.sweep.parameters: {path} is below {'.'.join(parents[: depth + 1])}, which"
                " the spec does not have: add it, as a sweep only varies what is there",
            )
        here = here[name]
    here[last] = value


def _told(values: Values) -> str:
    return ", ".join(f"{path} = {told(value)}" for path, value in values.items())
