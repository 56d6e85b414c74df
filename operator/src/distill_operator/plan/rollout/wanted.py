"""What the spec of a rollout asks for, resolved: policy, names, and orders for its children."""

import hashlib
import json
from dataclasses import dataclass

from distill_operator.plan.rollout.model import Arm
from distill_operator.plan.rollout.policy import Policy
from distill_operator.plan.rollout.traffic import Backends
from distill_operator.render.rollout.order import ArmOrder, ProberOrder, RouteOrder

LENGTH = 10
"""Characters of a revision: it is a label, and names nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The resolved spec."""

    policy: Policy
    backends: Backends
    teacher: ArmOrder | None = None
    """None: a Service that somebody else runs."""
    student: ArmOrder | None = None
    route: RouteOrder | None = None
    """None: a route that is there already."""
    prober: ProberOrder | None = None

    def order(self, arm: Arm) -> ArmOrder | None:
        """Return the order of an arm; None for a Service that somebody else runs."""
        return self.student if arm is Arm.STUDENT else self.teacher

    @property
    def runs(self) -> frozenset[Arm]:
        """The arms that are Deployments of ours."""
        return frozenset(arm for arm in Arm if self.order(arm) is not None)

    @property
    def revision(self) -> str:
        """Of both arms as they serve: another one begins the rollout anew."""
        parts = {arm.value: revision(self.order(arm)) or self.backends.of(arm) for arm in Arm}
        return _digest(parts)


def revision(order: ArmOrder | None) -> str | None:
    """Return the digest of what the user chose of an arm; None for somebody else's Service.

    Left out is what makes no other model: the number of replicas, and the operator's own image,
    or an upgrade of the operator would begin every rollout anew. Defaults are left out as well, so
    that a field of a later version changes nothing.
    """
    if order is None:
        return None
    chosen = order.deployment.model_dump(
        mode="json", exclude_defaults=True, exclude={"replicas", "model"}
    )
    model = order.model
    return _digest(
        {
            "deployment": chosen,
            "model": (model.reference, model.claim, model.path, model.digest),
            "served": order.served_name,
            "limits": order.latency_limits_milliseconds,
        }
    )


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:LENGTH]
