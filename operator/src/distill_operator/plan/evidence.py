"""What a job knows about itself that can prove an item of the production checklist."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.status import Artifact, Cost, EvaluationStatus

type Verdict = Literal["Proven", "Failed", "NeedsPerson"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of looking at an item."""

    state: Verdict
    evidence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that judges look at; None and absent facts mean not known (yet)."""

    spec: DistillationJobSpec
    facts: Mapping[Stage, Mapping[str, str]]
    """Of the stages whose reports are still there."""
    evaluation: EvaluationStatus | None
    artifact: Artifact | None
    cost: Cost | None

    def number(self, stage: Stage, name: str) -> float | None:
        """Return a fact as a number; None when it is absent or no number."""
        try:
            value = float(self.facts.get(stage, {})[name])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    def said(self, stage: Stage, name: str) -> bool | None:
        """Return a fact as yes or no; None when it is absent."""
        return {"true": True, "false": False}.get(self.facts.get(stage, {}).get(name, ""))


def proven(evidence: str) -> Finding:
    """Say that an item holds."""
    return Finding("Proven", evidence)


def failed(evidence: str) -> Finding:
    """Say that an item does not hold."""
    return Finding("Failed", evidence)


def person(evidence: str) -> Finding:
    """Say that only a person can tell."""
    return Finding("NeedsPerson", evidence)


def held(holds: bool, evidence: str) -> Finding:  # noqa: FBT001 - the one thing this function decides on
    """Say that an item holds or does not, with the same numbers."""
    return proven(evidence) if holds else failed(evidence)
