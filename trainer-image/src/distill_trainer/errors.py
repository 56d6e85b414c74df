"""The tree of errors: the class answers whether trying again can help."""

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

from distill_api.names import Exit, Reason
from distill_api.status import Publication
from distill_api.wire import Failure

MESSAGE_LIMIT = 1500
"""Characters of Failure.message."""

_FULL = "No space left on device"
_FULL_SENTENCE = (
    "A volume is full ({detail}). Give the workspace or the label cache more space"
    " (spec.workspace.size, spec.workspace.labelCache.size, or your own claim)"
)
_MEMORY_SENTENCE = (
    "The stage ran out of memory. Raise podTemplate.resources.limits.memory, or lower"
    " teacher.batchSize or training.microBatchSize"
)
_ACCELERATOR_SENTENCE = (
    "The accelerator ran out of memory. Lower training.microBatchSize or teacher.batchSize, set"
    " training.gradientCheckpointing or precision BFloat16, or ask for accelerators with more"
)


class TrainerError(Exception):
    """A failure with a reason for programs and a sentence for people; never raised itself."""

    def __init__(
        self, reason: Reason, sentence: str, *, publications: tuple[Publication, ...] = ()
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.publications = publications
        """What came of each target, where it is publication that failed."""


class BadInput(TrainerError):
    """The user must change something; trying again cannot help."""


class TryAgain(TrainerError):
    """The world is not ready; trying again may help."""


class PeerLost(TryAgain):
    """Another process of the same training is gone; that one's end counts, this one does not."""

    def __init__(self, who: str, detail: str = "") -> None:
        super().__init__(
            Reason.PEER_LOST,
            f"{who} of the training was lost, and so all of them start again from the last"
            f" complete checkpoint{f' ({detail})' if detail else ''}",
        )


def failure(error: BaseException) -> tuple[Failure, Exit]:
    """Turn what ended a stage into the report's failure and the exit status."""
    if is_full(error):
        return _told(Reason.VOLUME_FULL, _FULL_SENTENCE.format(detail=last_line(error)))
    match error:
        case BadInput(reason=reason, sentence=sentence):
            return _told(reason, sentence, Exit.GIVE_UP)
        case PeerLost(reason=reason, sentence=sentence):
            return _told(reason, sentence, Exit.PEER_LOST)
        case TryAgain(reason=reason, sentence=sentence):
            return _told(reason, sentence)
        case _ if (advice := _of_memory(error)) is not None:
            return _told(Reason.OUT_OF_MEMORY, advice)
        case _:
            return _told(Reason.CRASHED, f"{last_line(error)} {_frame(error)}")


def _of_memory(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return _MEMORY_SENTENCE
    # torch's own; it is not imported for this.
    return _ACCELERATOR_SENTENCE if type(error).__name__ == "OutOfMemoryError" else None


def is_full(error: BaseException) -> bool:
    """Tell whether a full file system is behind an error.

    Libraries written in Rust or C++ (safetensors, Arrow) report it by text only.
    """
    return any(
        (isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT})
        or _FULL in str(cause)
        for cause in causes(error)
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and everything that it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def last_line(error: BaseException) -> str:
    """Write class and message of an error on one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:600]}"


def _told(reason: Reason, message: str, code: Exit = Exit.TRY_AGAIN) -> tuple[Failure, Exit]:
    return Failure(reason=reason, message=message[:MESSAGE_LIMIT]), code


def _frame(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f"(in {last.name}, {Path(last.filename).name} line {last.lineno})"
