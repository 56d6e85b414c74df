"""What pydantic says becomes what a CustomResourceDefinition takes, or is refused."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from distill_api.base import Quantity, listed_once, rule, rules, text
from distill_api.generate.structural import NotStructural, structural, without_defaults
from pydantic import BaseModel, ConfigDict, Field


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Colour(StrEnum):
    """A colour."""

    RED = "Red"


class Inner(_Base):
    """What is inside."""

    model_config = rules(rule("self.size > 1", "size must be above 1"))

    size: Annotated[int, Field(gt=0, lt=9)] = 3
    colour: Colour = Colour.RED


class Outer(_Base):
    """What is outside."""

    inner: Inner = Inner()
    """The inner part."""
    maybe: Inner | None = None
    kind: Literal["only"] = "only"
    names: Annotated[dict[str, Annotated[str, Field(max_length=3)]], Field(max_length=2)] = {}


def _of(model: type[BaseModel]) -> dict[str, Any]:
    return structural(model.model_json_schema())


def test_references_are_inlined_and_the_fields_own_words_win() -> None:
    inner = _of(Outer)["properties"]["inner"]
    assert inner["description"] == "The inner part."
    assert inner["properties"]["colour"]["enum"] == ["Red"]
    assert inner["x-kubernetes-validations"] == [rule("self.size > 1", "size must be above 1")]


def test_an_optional_member_is_simply_not_required() -> None:
    maybe = _of(Outer)["properties"]["maybe"]
    assert maybe["description"] == "What is inside."
    assert "default" not in maybe
    assert "required" not in _of(Outer)


def test_exclusive_limits_take_the_boolean_form() -> None:
    size = _of(Inner)["properties"]["size"]
    assert (size["minimum"], size["exclusiveMinimum"]) == (0, True)
    assert (size["maximum"], size["exclusiveMaximum"]) == (9, True)


def test_a_constant_becomes_an_enum_of_one() -> None:
    assert _of(Outer)["properties"]["kind"]["enum"] == ["only"]


def test_closed_objects_lose_and_maps_keep_their_additional_properties() -> None:
    schema = _of(Outer)
    assert "additionalProperties" not in schema
    assert schema["properties"]["names"]["additionalProperties"] == {
        "type": "string",
        "maxLength": 3,
    }


def test_defaults_of_objects_have_every_member_but_the_absent() -> None:
    class Part(_Base):
        inner: Inner = Inner(size=5)
        note: Annotated[str, Field(max_length=9)] | None = None

    class Holder(_Base):
        part: Part = Part()

    assert _of(Holder)["properties"]["part"]["default"] == {"inner": {"size": 5, "colour": "Red"}}


def test_defaults_can_be_removed_at_every_depth() -> None:
    assert "default" in str(_of(Outer))
    assert "default" not in str(without_defaults(_of(Outer)))


def test_a_pattern_with_a_sentence_becomes_a_rule() -> None:
    class Named(_Base):
        name: Annotated[str, text(r"^\d+$", "must be digits only, for example 12", most=4)]

    name = _of(Named)["properties"]["name"]
    assert "pattern" not in name
    assert name["x-kubernetes-validations"] == [
        rule(r"self.matches('^\\d+$')", "must be digits only, for example 12")
    ]


def test_a_quantity_may_be_written_as_a_number() -> None:
    class Sized(_Base):
        size: Quantity | None = None

    size = _of(Sized)["properties"]["size"]
    assert size["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert size["x-kubernetes-int-or-string"] is True
    assert "type" not in size
    assert "string(self).matches(" in size["x-kubernetes-validations"][0]["rule"]
    assert Sized(size=2).size == "2"  # type: ignore[arg-type]  # as JSON has it


def test_a_fractional_limit_holds_for_whole_numbers_too() -> None:
    class Warm(_Base):
        temperature: Annotated[float, Field(ge=0.001, le=10)]

    temperature = _of(Warm)["properties"]["temperature"]
    assert temperature["minimum"] == 0.001
    assert temperature["x-kubernetes-validations"] == [
        rule("self >= 0.001", "should be greater than or equal to 0.001: raise it")
    ]


def test_a_list_can_refuse_an_item_named_twice() -> None:
    class Listed(_Base):
        layers: Annotated[list[int], Field(max_length=3, json_schema_extra=listed_once())]

    assert _of(Listed)["properties"]["layers"]["x-kubernetes-list-type"] == "set"


class Node(_Base):
    """Contains itself."""

    child: "Node | None" = None


class Union(_Base):
    value: Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=3)]


class Pair(_Base):
    value: tuple[int, str]


class Cat(_Base):
    kind: Literal["cat"]


class Dog(_Base):
    kind: Literal["dog"]


class Discriminated(_Base):
    value: Annotated[Cat | Dog, Field(discriminator="kind")]


class Unbounded(_Base):
    value: str


class UnboundedList(_Base):
    value: list[Annotated[int, Field(ge=0)]]


class UnboundedMap(_Base):
    value: dict[str, int]


class Tuned(_Base):
    value: Annotated[int, Field(multiple_of=4)]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Node, "contains itself"),
        (Union, "a union of 2 types"),
        (Pair, "prefixItems"),
        (Discriminated, "oneOf"),
        (Unbounded, "string without maxLength"),
        (UnboundedList, "array without maxItems"),
        (UnboundedMap, "without maxProperties"),
        (Tuned, "multipleOf"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_structural_schema_cannot_say_is_refused_with_its_place(
    model: type[BaseModel], why: str
) -> None:
    with pytest.raises(NotStructural, match=why) as refusal:
        _of(model)
    assert str(refusal.value).startswith(("value", "child"))
