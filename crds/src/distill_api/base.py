"""The base class of every model that crosses a process wall as JSON."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue
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


def rule(expression: str, message: str) -> dict[str, JsonValue]:
    """Return a CEL rule of the CRD: what must hold, and the sentence shown when it does not."""
    return {"rule": expression, "message": message}


def rules(*checks: dict[str, JsonValue]) -> ConfigDict:
    """Return the model_config of a model that the API server checks with these CEL rules."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list(checks)})


DnsName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
Quantity = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
    ),
]
Uri = Annotated[str, Field(min_length=6, max_length=1024)]
ShortText = Annotated[str, Field(max_length=256)]
Sentence = Annotated[str, Field(max_length=2048)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=2_147_483_647)]
NonNegativeInt = Annotated[int, Field(ge=0, le=2_147_483_647)]
