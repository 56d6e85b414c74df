"""Who pushes progress: a pod of ours, proven by the token that the API server bound to it."""

import base64
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from distill_api.names import PROGRESS_AUDIENCE

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import POD, TOKEN_REVIEW
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest

POD_UID: Final = "authentication.kubernetes.io/pod-uid"
TRUSTED_SECONDS: Final = 300.0
"""How long a review is believed, at most; a token's own end comes first."""
DOUBTED_SECONDS: Final = 30.0
"""How long a token that was refused is refused without asking again."""
REMEMBERED: Final = 10_000
TOKEN_LIMIT: Final = 8192


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a review said, and until when (monotonic clock) it is believed."""

    pod_uid: str | None
    complaint: str
    until: float


def judge(review: Manifest) -> tuple[str | None, str]:
    """Return the uid of the pod that a reviewed token is bound to, or None and why not."""
    found = review.get("status") or {}
    if not found.get("authenticated"):
        return None, "the token is not valid: " + str(found.get("error") or "it was refused")
    if PROGRESS_AUDIENCE not in (found.get("audiences") or ()):
        return None, f"the token is not for the audience {PROGRESS_AUDIENCE}"
    bound = ((found.get("user") or {}).get("extra") or {}).get(POD_UID) or [""]
    if not bound[0]:
        return None, "the token is not bound to a pod: use the projected token of the pod"
    return str(bound[0]), ""


def lifetime(token: str, *, now: float) -> float:
    """Return the seconds that a token has left by its own claim; 0 where it cannot be read.

    The claim is only read to shorten trust, so it needs no check of its own.
    """
    try:
        middle = token.split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return max(float(claims["exp"]) - now, 0.0)
    except (IndexError, ValueError, KeyError, TypeError):
        return 0.0


class Callers:
    """Asks the API server about tokens, and remembers the answers by the tokens' hashes."""

    def __init__(self, cluster: Cluster, store: Store, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._questions = Allowance(clock, rate=2.0, burst=20.0)

    async def pod(self, token: str, address: str) -> Manifest:
        """Return the pod of ours that a token is bound to; Unauthorised where there is none.

        address: where the caller is. Tokens that are not known yet cost the API server a review,
        so an address may only bring so many of them (TooMany).
        """
        if not token or len(token) > TOKEN_LIMIT:
            raise errors.Unauthorised("send the pod's projected token: Authorization: Bearer …")
        verdict = await self._verdict(token, address)
        if verdict.pod_uid is None:
            raise errors.Unauthorised(verdict.complaint)
        found = self._store.get(POD, verdict.pod_uid)
        if found is None:
            raise errors.Unauthorised(
                "the token's pod is not (or not yet) known as a pod of a DistillationJob"
            )
        return found

    async def _verdict(self, token: str, address: str) -> Verdict:
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known.until > self._clock():
            return known
        self._questions.spend(address)
        verdict = await self._ask(token)
        self._known[digest] = verdict
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return verdict

    async def _ask(self, token: str) -> Verdict:
        body: Manifest = {
            "apiVersion": TOKEN_REVIEW.api_version,
            "kind": TOKEN_REVIEW.kind,
            "spec": {"token": token, "audiences": [PROGRESS_AUDIENCE]},
        }
        pod_uid, complaint = judge(await self._cluster.review(TOKEN_REVIEW, body))
        left = min(lifetime(token, now=time.time()), TRUSTED_SECONDS)
        seconds = left if pod_uid else DOUBTED_SECONDS
        return Verdict(pod_uid, complaint, self._clock() + seconds)


class Allowance:
    """A token bucket for each caller: so many pushes a second, and a few at once."""

    def __init__(self, clock: Callable[[], float], *, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, caller: str) -> None:
        """Count one push; TooMany where the caller has none left."""
        now = self._clock()
        level, since = self._buckets.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        if level < 1.0:
            raise errors.TooMany("pushed too often: once in five seconds is enough")
        self._buckets[caller] = (level - 1.0, now)
        self._buckets.move_to_end(caller)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
