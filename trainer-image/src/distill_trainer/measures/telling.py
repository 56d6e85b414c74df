"""Numbers of both models as the contract tells them, alike for every component."""

from typing import Final, Literal

from distill_api.status import Score, Speed

from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.speed import Timings

RETENTION_DECIMALS: Final = 4
SPEEDUP_DECIMALS: Final = 3
MILLISECONDS_DECIMALS: Final = 3
_MOST_DECIMALS: Final = 12


def score(measure: str, student: float, teacher: float, kept: Retention) -> Score:
    """Tell both models' mean of a measure, and what the student keeps of it."""
    return Score(
        measure=measure,
        student=f"{student:.4f}",
        teacher=f"{teacher:.4f}",
        retention=f"{kept.value:.{RETENTION_DECIMALS}f}",
        retention_low=f"{kept.low:.{RETENTION_DECIMALS}f}",
        retention_high=f"{kept.high:.{RETENTION_DECIMALS}f}",
    )


def speed(timings: Timings, decimals: int = 1) -> Speed:
    """Tell latencies in milliseconds, and items per second with so many decimals."""
    return Speed(
        p50_milliseconds=f"{1000 * timings.percentile(50):.3f}",
        p95_milliseconds=f"{1000 * timings.percentile(95):.3f}",
        p99_milliseconds=f"{1000 * timings.percentile(99):.3f}",
        items_per_second=f"{timings.texts_per_second:.{decimals}f}",
    )


def speedup(times: float) -> str:
    """Tell a speed-up as every status does."""
    return f"{times:.{SPEEDUP_DECIMALS}f}"


def percent(share: float) -> str:
    """Write a retention as the report does, which reads it from the status."""
    return f"{round(share, RETENTION_DECIMALS):.1%}"


def beside(
    value: float, limit: float, *, kept: int, decimals: int, form: Literal["f", "%"] = "f"
) -> str:
    """Write a value in a sentence that names its limit too.

    kept: decimals that the status keeps. Rounded to these first, as the report does that reads the
    status, the sentence and the report say the same. Where value and limit would then look alike,
    and are not, as many decimals are written as tell them apart.
    """
    short = f"{round(value, kept):.{decimals}{form}}"
    if value == limit or short != f"{limit:.{decimals}{form}}":
        return short
    longer = (
        (f"{value:.{more}{form}}", f"{limit:.{more}{form}}")
        for more in range(decimals + 1, _MOST_DECIMALS)
    )
    return next((own for own, other in longer if own != other), short)
