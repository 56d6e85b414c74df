"""The CustomResourceDefinition of a kind."""

from typing import Any, Final

from distill_api import names
from distill_api.base import rule
from distill_api.generate.kinds import Kind
from distill_api.generate.structural import RULES, Schema, structural, without_defaults

NAME_LIMIT: Final = 40
"""Characters of an object's name: its children add to it, within a label's 63."""

_API_VERSION: Final = (
    f"Version of this schema: {names.API_VERSION}. Servers convert recognised versions and refuse"
    " others."
)
_NAME_RULES: Final = (
    rule(
        f"size(self.metadata.name) <= {NAME_LIMIT}",
        f"metadata.name must have at most {NAME_LIMIT} characters, as the names of its pods are"
        " made from it: choose a shorter name",
        at=".metadata.name",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter and have only small letters, digits and '-', as"
        " a label or a DNS name has: change the name",
        at=".metadata.name",
    ),
)


def root_schema(kind: Kind) -> Schema:
    """Return the schema of the whole object."""
    spec = structural(kind.spec.model_json_schema(by_alias=True))
    status = without_defaults(structural(kind.status.model_json_schema(by_alias=True)))
    # The bound is Kubernetes' own; it is repeated so that the cost of the name's rules is known.
    name = {"type": "string", "maxLength": 253}
    return {
        "description": kind.about,
        "type": "object",
        "required": ["spec"],
        RULES: list(_NAME_RULES),
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "kind": {"description": f"Kind of this object: {kind.kind}.", "type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": status,
        },
    }


def manifest(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition as a manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.name, "labels": {names.Label.PART_OF.value: "kubedistill"}},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["distillation"],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": path} for path in kind.selectable],
        "additionalPrinterColumns": [column.manifest() for column in kind.columns],
        "schema": {"openAPIV3Schema": root_schema(kind)},
    }
