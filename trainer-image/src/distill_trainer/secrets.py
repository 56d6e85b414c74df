"""The Secrets that a stage may read: each is mounted as a folder of its name."""

from dataclasses import dataclass
from pathlib import Path

from distill_api.names import Reason
from distill_api.sources import SecretRef
from distill_api.teacher import Endpoint

from distill_trainer.errors import TryAgain


@dataclass(frozen=True, slots=True)
class Secrets:
    """Reads keys of mounted Secrets; never logs or stores what they hold."""

    root: Path
    namespace: str

    def read(self, ref: SecretRef, key: str) -> str:
        """Return one key's text; raises TryAgain where the Secret or the key is absent."""
        value = self.find(ref, key)
        if value is None:
            raise TryAgain(
                Reason.SECRET_MISSING,
                f'Secret "{ref.name}" does not exist in namespace "{self.namespace}" or has no'
                f' key "{key}": create it, the stage is tried again',
            )
        return value

    def token(self, ref: SecretRef, key: str) -> str:
        """Return one key's text, which a header of a request has to carry.

        Raises TryAgain as `read` does, and where no header can carry it: clients would show it in
        what they say of that.
        """
        value = self.read(ref, key)
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise TryAgain(
                Reason.SECRET_MISSING,
                f'The key "{key}" of Secret "{ref.name}" is no token that a request can carry: it'
                " is empty, or has blanks, line ends or other than ASCII characters. Correct the"
                " Secret, the stage is tried again",
            )
        return value

    def key(self, endpoint: Endpoint) -> str | None:
        """Return the key of an endpoint; None where it needs none."""
        ref = endpoint.api_key_secret_ref
        return None if ref is None else self.token(ref, ref.key)

    def find(self, ref: SecretRef | None, key: str) -> str | None:
        """Return one key's text, or None where it is absent."""
        if ref is None:
            return None
        path = self.root / ref.name / key
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def require(self, ref: SecretRef | None) -> None:
        """Raise TryAgain where a Secret that was named does not exist at all."""
        if ref is None or self._keys(ref):
            return
        raise TryAgain(
            Reason.SECRET_MISSING,
            f'Secret "{ref.name}" does not exist in namespace "{self.namespace}" or is empty:'
            " create it, the stage is tried again",
        )

    def _keys(self, ref: SecretRef) -> list[str]:
        folder = self.root / ref.name
        if not folder.is_dir():
            return []
        return [path.name for path in folder.iterdir() if path.is_file()]
