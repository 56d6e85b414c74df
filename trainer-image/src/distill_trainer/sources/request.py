"""What is fetched, for whom, and how its failures are told."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from distill_api.names import Reason
from distill_api.sources import SecretRef

from distill_trainer.errors import BadInput, TrainerError, TryAgain
from distill_trainer.secrets import Secrets


class Role(StrEnum):
    """What a source is to the job; the value is its place in the spec."""

    TEACHER = "teacher.model"
    STUDENT = "student.model"
    TOKENIZER = "teacher.endpoint.tokenizer"
    DATA = "data.source"
    PRODUCTION = "data.productionSample"


REASONS = {
    Role.TEACHER: Reason.TEACHER_UNREACHABLE,
    Role.STUDENT: Reason.TEACHER_UNREACHABLE,
    Role.TOKENIZER: Reason.TEACHER_UNREACHABLE,
    Role.DATA: Reason.DATA_UNREACHABLE,
    Role.PRODUCTION: Reason.DATA_UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A source to be fetched into a folder."""

    role: Role
    uri: str
    into: Path
    """An empty folder of our own; kinds that lie on a volume leave it empty."""
    secrets: Secrets
    volumes: Path
    secret: SecretRef | None = None
    plain_http: bool = False
    revision: str | None = None
    tell: Callable[[float, float], None] = lambda _done, _total: None
    """Called with bytes done and in all, where a transfer is long."""

    @property
    def scheme(self) -> str:
        """Return the URI's scheme."""
        return urlsplit(self.uri).scheme

    def missing(self, detail: str) -> BadInput:
        """Return the failure of something that is not there."""
        return BadInput(
            REASONS[self.role],
            f"spec.{self.role}.uri {shown(self.uri)} was not found: {detail}. Check the URI and"
            " create the job again",
        )

    def unreachable(self, detail: str) -> TryAgain:
        """Return the failure of a connection, which may pass."""
        return TryAgain(
            REASONS[self.role],
            f"spec.{self.role}.uri {shown(self.uri)} could not be reached: {detail}. Check that"
            " the server runs and that the pods may connect to it",
        )

    def damaged(self, detail: str) -> BadInput:
        """Return the failure of something that is not as it was published."""
        reason = Reason.BAD_DATA if self.role in {Role.DATA, Role.PRODUCTION} else Reason.BAD_MODEL
        return BadInput(
            reason,
            f"spec.{self.role}.uri {shown(self.uri)} is not as it was published: {detail}. Publish"
            " it again, or name another place, and create the job again",
        )

    def refused(self, detail: str) -> TrainerError:
        """Return the failure of credentials: absent ones must be named, wrong ones corrected."""
        where = f"spec.{self.role}.uri {shown(self.uri)}"
        if self.secret is None:
            return BadInput(
                REASONS[self.role],
                f"{where} was refused ({detail}): name a Secret with credentials in"
                f" spec.{self.role}.secretRef, or check the name; some servers refuse what does"
                " not exist",
            )
        return TryAgain(
            Reason.SECRET_MISSING,
            f'{where} was refused ({detail}) with the credentials of Secret "{self.secret.name}":'
            " correct the Secret, the stage is tried again",
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched."""

    path: Path
    """A file or a folder; read only where it lies on a volume."""
    digest: str
    """Of the content: `sha256:...`, the manifest's digest for OCI."""


def shown(uri: str) -> str:
    """Return a URI without user, password and query, which may hold secrets."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
