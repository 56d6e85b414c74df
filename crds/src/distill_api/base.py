"""The base class of every model that crosses a process wall as JSON."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """camelCase in JSON, snake_case in Python; frozen; unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


def rule(expression: str, message: str, *, at: str | None = None) -> dict[str, JsonValue]:
    """Return a CEL rule of the CRD: what must hold, and the sentence shown when it does not.

    at: the member that the user must change, for example `.uri`; the object itself by default.
    """
    check: dict[str, JsonValue] = {"rule": expression, "message": message}
    return check | {"fieldPath": at} if at else check


def text(pattern: str, sentence: str, *, most: int, least: int = 1, **more: JsonValue) -> Any:
    """Return the Field of a string with a pattern, and the sentence shown when it does not match.

    least, most: its length in characters. more: what else its schema says.
    """
    return Field(
        min_length=least,
        max_length=most,
        pattern=pattern,
        json_schema_extra={"x-pattern-sentence": sentence, **more},
    )


def listed_once(**more: JsonValue) -> dict[str, JsonValue]:
    """Return the schema extra of a list in which the API server refuses an item named twice."""
    return {"x-kubernetes-list-type": "set", **more}


def listed_by(key: str, **more: JsonValue) -> dict[str, JsonValue]:
    """Return the schema extra of a list whose items are told apart, and merged, by one member."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key], **more}


def rules(*checks: dict[str, JsonValue]) -> ConfigDict:
    """Return the model_config of a model that the API server checks with these CEL rules."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list(checks)})


DnsName = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "must be a Kubernetes name: small letters, digits, '-' and '.', with a letter or digit at"
        " both ends",
        most=253,
    ),
]
DnsLabel = Annotated[
    str,
    text(
        r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "must be a name of small letters, digits and '-' that starts with a letter and does not"
        " end with '-'",
        most=63,
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]


def _as_text(value: object) -> object:
    """Take a whole number for a quantity, as Kubernetes does."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    text(
        r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        "must be a Kubernetes quantity, for example 500m, 2 or 4Gi",
        most=32,
        **{"x-kubernetes-int-or-string": True},
    ),
    BeforeValidator(_as_text),
]
Uri = Annotated[str, Field(min_length=6, max_length=1024)]
ShortText = Annotated[str, Field(max_length=256)]
Sentence = Annotated[str, Field(max_length=2048)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=2_147_483_647)]
NonNegativeInt = Annotated[int, Field(ge=0, le=2_147_483_647)]
BigCount = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A count that passes 2^31, such as bytes or tokens; every client keeps it exactly."""
