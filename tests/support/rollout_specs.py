"""Specs of rollouts for tests, as the API server stores them."""

from typing import Any, Final

from distill_api.rollout import DistilledModelRolloutSpec
from distill_operator.plan.rollout.model import ObservedArtifact

DIGEST: Final = "sha256:" + "a" * 64
ARTIFACT: Final = ObservedArtifact(
    "oci://registry.local/minilm:v1", DIGEST, teacher_uri="oci://registry.local/teacher@" + DIGEST
)


def a_spec(**changes: Any) -> DistilledModelRolloutSpec:
    """Return a spec with defaults; changes: members of it."""
    written = {
        "component": "Embedding",
        "artifact": {"jobRef": {"name": "minilm"}},
        "teacher": {"deployment": {"runtime": "Torch"}},
        "student": {"deployment": {"replicas": 2}},
        "gateway": {"route": {"parentRefs": [{"name": "edge"}]}},
    }
    return DistilledModelRolloutSpec.model_validate(written | changes)
