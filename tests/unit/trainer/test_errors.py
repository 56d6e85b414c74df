"""What ends a stage decides whether it is tried again."""

import errno

import pytest
import torch
from distill_api.names import Exit, Reason
from distill_trainer import errors
from distill_trainer.errors import BadInput, TryAgain


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


CASES = [
    ("bad input ends the job", BadInput(Reason.BAD_DATA, "x"), Reason.BAD_DATA, Exit.GIVE_UP),
    (
        "a broken world is tried again",
        TryAgain(Reason.EVICTED, "x"),
        Reason.EVICTED,
        Exit.TRY_AGAIN,
    ),
    ("a full disk", OSError(errno.ENOSPC, "full"), Reason.VOLUME_FULL, Exit.TRY_AGAIN),
    ("a used up quota", OSError(errno.EDQUOT, "quota"), Reason.VOLUME_FULL, Exit.TRY_AGAIN),
    (
        "a full disk told by a Rust library",
        RuntimeError("I/O error: No space left on device (os error 28)"),
        Reason.VOLUME_FULL,
        Exit.TRY_AGAIN,
    ),
    (
        "a full disk behind bad input",
        chained(BadInput(Reason.BAD_MODEL, "cannot load"), OSError(errno.ENOSPC, "full")),
        Reason.VOLUME_FULL,
        Exit.TRY_AGAIN,
    ),
    ("no memory", MemoryError(), Reason.OUT_OF_MEMORY, Exit.TRY_AGAIN),
    (
        "no memory on the accelerator",
        torch.OutOfMemoryError("CUDA out of memory"),
        Reason.OUT_OF_MEMORY,
        Exit.TRY_AGAIN,
    ),
    ("a defect of ours", KeyError("x"), Reason.CRASHED, Exit.TRY_AGAIN),
]


@pytest.mark.parametrize(("why", "error", "reason", "code"), CASES, ids=[c[0] for c in CASES])
def test_the_error_decides_the_retry(why: str, error: Exception, reason: Reason, code: Exit):
    failure, got = errors.failure(error)
    assert (failure.reason, got) == (reason, code)


def test_a_crash_names_class_and_last_frame():
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    failure, _ = errors.failure(caught.value)
    assert failure.message.startswith(
        "ZeroDivisionError: integer division or modulo by zero (in test_a_crash"
    )
    assert "test_errors.py line" in failure.message


def test_a_long_sentence_is_cut_to_the_contract():
    failure, _ = errors.failure(BadInput(Reason.BAD_DATA, "x" * 5000))
    assert len(failure.message) == errors.MESSAGE_LIMIT
