"""From pydantic's JSON schema to the structural schema that a CustomResourceDefinition takes.

Each difference between the two is handled here once; what a structural schema cannot say, or what
the API server could not bound when it estimates the cost of a CEL rule, raises `NotStructural`.
"""

from collections.abc import Mapping
from typing import Any, Final

type Schema = dict[str, Any]

RULES: Final = "x-kubernetes-validations"
FREE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
PATTERN_SENTENCE: Final = "x-pattern-sentence"
"""The sentence for a pattern: both become one CEL rule, whose message a person can act on."""

_ORDER: Final = (
    "description",
    "type",
    "anyOf",
    INT_OR_STRING,
    "format",
    "default",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    FREE,
    RULES,
    "required",
    "properties",
    "items",
    "additionalProperties",
)
_BOUND_OF: Final = {"string": "maxLength", "array": "maxItems"}


class NotStructural(Exception):
    """A model says something that a CustomResourceDefinition cannot."""


def structural(model_schema: Schema) -> Schema:
    """Return the structural form of a model's JSON schema, with its `$defs` inlined.

    Raises NotStructural for unions, tuples, recursion, unknown keywords and unbounded values.
    """
    return _node(model_schema, model_schema.get("$defs", {}), "")


def without_defaults(schema: Schema) -> Schema:
    """Return the schema without defaults: a status is a report, nothing may be added to it."""
    kept: Schema = {}
    for keyword, value in schema.items():
        if keyword == "default":
            continue
        if keyword == "properties":
            kept[keyword] = {name: without_defaults(child) for name, child in value.items()}
        elif keyword in {"items", "additionalProperties"}:
            kept[keyword] = without_defaults(value)
        else:
            kept[keyword] = value
    return kept


def _node(raw: Schema, defs: Mapping[str, Schema], path: str) -> Schema:
    schema = _flat(raw, defs, path)
    for translate in (_const, _exclusive, _fractions, _sentence, _int_or_string, _free, _closed):
        schema = translate(schema, path)
    if unknown := schema.keys() - set(_ORDER):
        raise NotStructural(
            f"{path or 'root'}: a structural schema has no {', '.join(sorted(unknown))};"
            " change the model or teach generate/structural.py what to make of it"
        )
    _bounded(schema, path)
    schema = _with_children(schema, defs, path)
    if "default" in schema:
        schema["default"] = _present(schema["default"])
    return {keyword: schema[keyword] for keyword in _ORDER if keyword in schema}


def _with_children(schema: Schema, defs: Mapping[str, Schema], path: str) -> Schema:
    children = dict(schema)
    if "properties" in schema:
        children["properties"] = {
            name: _node(child, defs, f"{path}.{name}" if path else name)
            for name, child in schema["properties"].items()
        }
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in schema:
            children[keyword] = _node(schema[keyword], defs, path + mark)
    return children


def _flat(raw: Schema, defs: Mapping[str, Schema], path: str) -> Schema:
    """Return the node with `$ref` followed and the null of an optional field removed."""
    schema = {k: v for k, v in raw.items() if k not in {"title", "$defs"}}
    seen: set[str] = set()
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            name = schema.pop("$ref").removeprefix("#/$defs/")
            if name in seen or path.count(".") > 16:
                raise NotStructural(f"{path}: {name} contains itself, which a CRD cannot express")
            seen.add(name)
            schema = _merged(defs[name], schema)
        else:
            schema = _merged(_only_option(schema.pop("anyOf"), path), schema)
    if schema.get("default", ...) is None:
        del schema["default"]
    return schema


def _merged(base: Schema, over: Schema) -> Schema:
    """Return base with what the field itself says on top; rules of both hold."""
    merged = {k: v for k, v in base.items() if k != "title"} | over
    if found := [*base.get(RULES, []), *over.get(RULES, [])]:
        merged[RULES] = found
    return merged


def _only_option(options: list[Schema], path: str) -> Schema:
    left = [option for option in options if option.get("type") != "null"]
    if len(left) != 1:
        raise NotStructural(
            f"{path}: a union of {len(left)} types; spell the choice as optional members with a"
            " rule 'exactly one'"
        )
    return left[0]


def _const(schema: Schema, _path: str) -> Schema:
    if "const" not in schema:
        return schema
    return {k: v for k, v in schema.items() if k != "const"} | {"enum": [schema["const"]]}


def _exclusive(schema: Schema, _path: str) -> Schema:
    """Return numbers' exclusive limits in the boolean form of JSON schema draft 4."""
    changed = dict(schema)
    for limit in ("minimum", "maximum"):
        exclusive = "exclusive" + limit.capitalize()
        if exclusive in schema:
            changed |= {limit: schema[exclusive], exclusive: True}
    return changed


def _fractions(schema: Schema, _path: str) -> Schema:
    """Return a number with its fractional limits as rules too.

    The API server cuts such a limit to a whole number when the value is written without a point
    (kube-openapi, MinimumNativeType): a minimum of 0.001 would let 0 pass.
    """
    checks = [
        {
            "rule": f"self {sign} {float(schema[limit])}",
            "message": f"should be {word} than or equal to {schema[limit]}: {verb} it",
        }
        for limit, sign, word, verb in (
            ("minimum", ">=", "greater", "raise"),
            ("maximum", "<=", "less", "lower"),
        )
        if limit in schema and schema[limit] != int(schema[limit])
    ]
    return schema | {RULES: [*checks, *schema.get(RULES, [])]} if checks else schema


def _sentence(schema: Schema, _path: str) -> Schema:
    """Return a pattern that has a sentence as a CEL rule: the bare pattern explains nothing."""
    if PATTERN_SENTENCE not in schema:
        return schema
    left = {k: v for k, v in schema.items() if k not in {"pattern", PATTERN_SENTENCE}}
    pattern = schema["pattern"].replace("\\", "\\\\")
    itself = "string(self)" if INT_OR_STRING in schema else "self"
    check = {"rule": f"{itself}.matches('{pattern}')", "message": schema[PATTERN_SENTENCE]}
    return left | {RULES: [check, *schema.get(RULES, [])]}


def _int_or_string(schema: Schema, path: str) -> Schema:
    """Return what may be a number or a text in the only form that the API server knows."""
    if INT_OR_STRING not in schema:
        return schema
    _bounded(schema, path)
    left = {k: v for k, v in schema.items() if k not in {"type", "minLength"}}
    return left | {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def _free(schema: Schema, _path: str) -> Schema:
    """Return an object that keeps whatever is in it: what its members are is nobody's business."""
    if not schema.get(FREE):
        return schema
    return {k: v for k, v in schema.items() if k != "additionalProperties"}


def _closed(schema: Schema, _path: str) -> Schema:
    """Return an object without `additionalProperties: false`, which may not stand by properties.

    Pruning and strict clients see to unknown fields.
    """
    if schema.get("additionalProperties") is not False:
        return schema
    return {k: v for k, v in schema.items() if k != "additionalProperties"}


def _bounded(schema: Schema, path: str) -> None:
    bound = _BOUND_OF.get(schema.get("type", ""))
    if "additionalProperties" in schema:
        bound = "maxProperties"
    if bound and not schema.keys() & {bound, "enum", "format"}:
        raise NotStructural(
            f"{path}: {schema['type']} without {bound}; the API server needs the bound to"
            " estimate what its rules cost"
        )


def _present(default: Any) -> Any:
    """Return a default without absent members, and with all that have a value.

    For an object `{}` would come to the same, as members have defaults of their own; but the API
    server checks an object's rules against its default alone, and they need their members there.
    """
    if isinstance(default, list):
        return [_present(item) for item in default]
    if not isinstance(default, dict):
        return default
    return {name: _present(value) for name, value in default.items() if value is not None}
