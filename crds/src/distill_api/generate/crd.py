"""The CustomResourceDefinition of a DistillationJob."""

from typing import Any, Final

from distill_api import names
from distill_api.base import rule
from distill_api.generate.structural import RULES, Schema, structural, without_defaults
from distill_api.job import DistillationJobSpec
from distill_api.status import JobStatus

NAME: Final = f"{names.JOB_PLURAL}.{names.GROUP}"
NAME_LIMIT: Final = 40
"""Characters of an object's name: its children add stage, uid and attempt, within a label's 63."""

_ABOUT: Final = (
    "Distils a language model: a small student learns from a large teacher, is measured against"
    " it and published with a digest and a verdict."
)
_API_VERSION: Final = (
    f"Version of this schema: {names.API_VERSION}. Servers convert recognised versions and refuse"
    " others."
)
_KIND: Final = f"Kind of this object: {names.JOB_KIND}."
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


def root_schema() -> Schema:
    """Return the schema of the whole object."""
    spec = structural(DistillationJobSpec.model_json_schema(by_alias=True))
    status = without_defaults(structural(JobStatus.model_json_schema(by_alias=True)))
    # The bound is Kubernetes' own; it is repeated so that the cost of the name's rules is known.
    name = {"type": "string", "maxLength": 253}
    return {
        "description": _ABOUT,
        "type": "object",
        "required": ["spec"],
        RULES: list(_NAME_RULES),
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "kind": {"description": _KIND, "type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": status,
        },
    }


def manifest() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "labels": {names.Label.PART_OF.value: "kubedistill"}},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.JOB_KIND,
                "listKind": f"{names.JOB_KIND}List",
                "plural": names.JOB_PLURAL,
                "singular": names.JOB_KIND.lower(),
                "shortNames": ["djob"],
                "categories": ["distillation"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.component"}, {"jsonPath": ".status.stage"}],
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": root_schema()},
    }


def _columns() -> list[dict[str, Any]]:
    reason = '.status.conditions[?(@.type=="Succeeded")].reason'
    return [
        _column("Stage", ".status.stage", "Stage that runs or ran last."),
        _column("Progress", ".status.progress", "How far that stage is."),
        _column("Retention", ".status.retention", "Student's quality against the teacher's."),
        _column("Speedup", ".status.speedup", "Student's speed against the teacher's.", wide=True),
        _column("Cost", ".status.costSummary", "What was spent so far.", wide=True),
        _column("Phase", ".status.phase", "Summary of the conditions.", wide=True),
        _column("Reason", reason, "Why the job stands where it does.", wide=True),
        _column("Artifact", ".status.artifact.uri", "The published student."),
        _column("Age", ".metadata.creationTimestamp", "Time since creation.", kind="date"),
    ]


def _column(
    name: str, path: str, about: str, *, wide: bool = False, kind: str = "string"
) -> dict[str, Any]:
    column = {"name": name, "type": kind, "description": about, "jsonPath": path}
    return column | {"priority": 1} if wide else column
