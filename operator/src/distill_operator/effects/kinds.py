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

SELECTORS: Final[dict[Kind, str]] = {
    DISTILLATION_JOB: "",
    JOB: str(names.Label.JOB_UID),
    POD: str(names.Label.JOB_UID),
    CLAIM: f"{names.Label.PART_OF}=kubedistill",
}
"""What is watched, and the label selector that the API server filters by."""

MADE_BY_PLAN: Final[dict[str, Kind]] = {kind.kind: kind for kind in (JOB, CLAIM)}
"""Kinds that a plan may hold."""
