"""Which students rollouts name: retention after a publication must not remove them."""

import json
import re
from typing import Any

from distill_api.job import DistillationJobSpec
from distill_api.names import DIGEST

from distill_operator.effects.kinds import DISTILLATION_JOB, DISTILLED_ROLLOUT
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest


def digests(spec: DistillationJobSpec | None, store: Store) -> tuple[str, ...]:
    """Return every digest that a rollout has in spec or status, or its job published, sorted.

    Whatever it is a digest of: one too many keeps nothing that should go. None where the spec
    removes nothing, as each pass would look for them.
    """
    if spec is None or not any(map(_removes, spec.publish)):
        return ()
    found = set[str]()
    for body in store.all(DISTILLED_ROLLOUT):
        found |= _of(body.get("spec")) | _of(body.get("status")) | _of(_published(body, store))
    return tuple(sorted(found))


def _removes(target: Any) -> bool:
    place = target.oci or target.s3
    return place is not None and place.retention is not None


def _published(rollout: Manifest, store: Store) -> Any:
    """Return what the job of a rollout has published: the rollout may not have seen it yet."""
    name = ((rollout["spec"].get("artifact") or {}).get("jobRef") or {}).get("name")
    job = store.named(DISTILLATION_JOB, rollout["metadata"]["namespace"], name) if name else None
    status = (job or {}).get("status") or {}
    return [status.get("artifact"), status.get("publications")]


def _of(part: Any) -> set[str]:
    return set(re.findall(DIGEST, json.dumps(part)))
