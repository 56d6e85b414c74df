"""The changeable part of a spec as a digest: whether a Job was made from other settings."""

import hashlib
import json
from typing import Final

from distill_api.job import DistillationJobSpec

from distill_operator.plan.model import ObservedStageJob

SETTINGS: Final = frozenset(
    {
        "pod_template",
        "retries",
        "stage_deadline_seconds",
        "queue_name",
        "priority_class_name",
    }
)
"""What may change after creation and shapes a stage's Job. Suspending, prices and TTL shape none,
so that editing them neither replaces nor restarts anything."""


def digest(spec: DistillationJobSpec) -> str:
    """Return the digest of the settings.

    Defaults are left out: a newer operator with a new optional field changes no digest.
    """
    chosen = spec.model_dump(mode="json", include=set(SETTINGS), exclude_defaults=True)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def outdated(job: ObservedStageJob, spec: DistillationJobSpec) -> bool:
    """Tell whether a Job was made from other settings than the spec's present ones."""
    return job.settings_digest is not None and job.settings_digest != digest(spec)
