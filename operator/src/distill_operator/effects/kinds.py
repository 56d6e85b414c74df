"""The kinds of objects that the operator reads or writes, and their paths."""

from dataclasses import dataclass
from typing import Final

from distill_api import names


@dataclass(frozen=True, slots=True)
class Kind:
    """A namespaced kind of the API server, or a cluster-wide one used without a namespace."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, *, sub: str = "") -> str:
        """Return the path of the collection, of an object, or of its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{place}/{self.plural}" + (f"/{name}" if name else "") + (sub and f"/{sub}")


DISTILLATION_JOB: Final = Kind(names.API_VERSION, names.JOB_KIND, names.JOB_PLURAL)
JOB: Final = Kind("batch/v1", "Job", "jobs")
POD: Final = Kind("v1", "Pod", "pods")
CLAIM: Final = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SECRET: Final = Kind("v1", "Secret", "secrets")
CORE_EVENT: Final = Kind("v1", "Event", "events")
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
TOKEN_REVIEW: Final = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews")

DISTILLED_ROLLOUT: Final = Kind(names.API_VERSION, names.ROLLOUT_KIND, names.ROLLOUT_PLURAL)
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
SERVICE: Final = Kind("v1", "Service", "services")
DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
HTTP_ROUTE: Final = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GATEWAY: Final = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")

SELECTORS: Final[dict[Kind, str]] = {
    DISTILLATION_JOB: "",
    JOB: str(names.Label.JOB_UID),
    POD: str(names.Label.JOB_UID),
    CLAIM: f"{names.Label.PART_OF}=kubedistill",
}
"""What is watched for jobs, and the label selector that the API server filters by."""
ROLLOUT_SELECTORS: Final[dict[Kind, str]] = SELECTORS | {
    # One watch for the pods of stages and arms: they have this label in common.
    POD: f"{names.Label.PART_OF}=kubedistill",
    DISTILLED_ROLLOUT: "",
    DEPLOYMENT: str(names.Label.ROLLOUT_UID),
    SERVICE: str(names.Label.ROLLOUT_UID),
    DISRUPTION_BUDGET: str(names.Label.ROLLOUT_UID),
    # Those of a Service that somebody else runs have no label of ours.
    ENDPOINT_SLICE: "",
}
"""The same where rollouts are served too."""
GATEWAY_SELECTORS: Final[dict[Kind, str]] = {HTTP_ROUTE: "", GATEWAY: ""}
"""What is watched besides where the Gateway API is installed."""
WRITERS_KEPT: Final = frozenset({HTTP_ROUTE})
"""Kinds of which it is asked who wrote what."""

MADE_BY_PLAN: Final[dict[str, Kind]] = {kind.kind: kind for kind in (JOB, CLAIM, SERVICE)}
"""Kinds that the plan of a job may hold. A Service is not watched: it goes with its job."""
MADE_BY_ROLLOUT: Final[dict[str, Kind]] = {
    kind.kind: kind for kind in (DEPLOYMENT, SERVICE, DISRUPTION_BUDGET, HTTP_ROUTE)
}
"""Kinds that the plan of a rollout may hold."""
