"""Whether the student's pods read texts as the student did in training, in a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from distill_operator.plan import text
from distill_operator.plan.rollout.model import (
    Difference,
    ObservedArm,
    ObservedArtifact,
    ObservedPod,
    ObservedTokens,
    PodTokens,
)

BEFORE, AFTER = 3, 6
"""Tokens that are shown before the first difference, and from it on."""
EXCERPT: Final = 60
"""Characters of a text that are shown."""


class Fidelity(IntEnum):
    """What is known of a pod, or of all: the one that is worst counts."""

    ALIKE = 0
    UNCHECKED = 1
    """There is nothing to compare with, which nobody can be blamed for."""
    UNANSWERED = 2
    """Not asked yet, or no answer: missing data promotes nothing."""
    DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class TokenSight:
    """What the pods together show."""

    fidelity: Fidelity
    sentence: str

    @property
    def different(self) -> str | None:
        """The sentence where a pod reads other tokens than in training."""
        return self.sentence if self.fidelity is Fidelity.DIFFERENT else None

    @property
    def unanswered(self) -> str | None:
        """The sentence where it is not known yet."""
        return self.sentence if self.fidelity is Fidelity.UNANSWERED else None


def look(seen: ObservedTokens, student: ObservedArm, artifact: ObservedArtifact) -> TokenSight:
    """Return what is known of the pods that are ready."""
    if not seen.known:
        return TokenSight(Fidelity.UNANSWERED, "the student's tokens were not asked for yet")
    ready = [pod for pod in student.pods if pod.ready and not pod.deleting]
    if ready:
        return _together([_judged(pod, seen.pods.get(pod.uid), artifact) for pod in ready])
    if student.ready_endpoints > 0:
        said = "the student's Service selects no pods, so nobody can be asked for tokens"
        return TokenSight(Fidelity.UNCHECKED, said)
    return TokenSight(Fidelity.UNANSWERED, "no pod of the student is ready to tell its tokens")


def _together(found: list[TokenSight]) -> TokenSight:
    worst = max(found, key=lambda sight: sight.fidelity)
    others = len(found) - 1
    if worst.fidelity is Fidelity.ALIKE and others:
        return TokenSight(Fidelity.ALIKE, f"{worst.sentence}, and so do {others} more")
    return worst


def _judged(pod: ObservedPod, found: PodTokens | None, artifact: ObservedArtifact) -> TokenSight:
    if found is None:
        return TokenSight(Fidelity.UNANSWERED, f"pod {pod.name} was not asked for its tokens yet")
    if found.problem is not None:
        said = f"pod {pod.name} does not tell its tokens: {found.problem}"
        return TokenSight(Fidelity.UNANSWERED, said)
    if found.difference is not None:
        return TokenSight(Fidelity.DIFFERENT, _told(pod.name, found.difference))
    wanted = artifact.token_ids_digest
    if wanted is not None and found.digest not in {None, wanted}:
        return TokenSight(
            Fidelity.DIFFERENT,
            f"pod {pod.name} has the tokens of another training ({found.digest}) than"
            f" DistillationJob {artifact.job} published ({wanted})",
        )
    if found.absent is not None:
        said = f"pod {pod.name} cannot be compared with the training: {found.absent}"
        return TokenSight(Fidelity.UNCHECKED, said)
    said = f"pod {pod.name} reads {found.texts} texts token by token as in training"
    return TokenSight(Fidelity.ALIKE, said)


def _told(pod: str, found: Difference) -> str:
    """Show both sequences around the place where they part."""
    place = parting(found.trained, found.served)
    excerpt = text.cut(found.text.strip(), EXCERPT)
    return (
        f"pod {pod} reads {found.name} {excerpt!r} otherwise than in training, from token"
        f" {place + 1} on: {shown(found.served, place)} where training had"
        f" {shown(found.trained, place)}. Serve the artifact as it was published, with the server"
        " of the release that trained it, or train anew"
    )


def parting(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return the first place at which two sequences differ; their length where they do not."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


def shown(ids: tuple[int, ...], place: int) -> str:
    """Write the ids around a place, and how many there are."""
    start, end = max(0, place - BEFORE), place + AFTER
    parts: Iterable[str] = (
        *(("…",) if start else ()),
        *map(str, ids[start:end]),
        *(("…",) if end < len(ids) else ()),
    )
    return f"[{' '.join(parts)}] ({len(ids)} tokens)"
