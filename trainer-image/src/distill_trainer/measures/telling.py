"""Numbers of both models as the contract tells them, alike for every component."""

from distill_api.status import Score, Speed

from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.speed import Timings


def score(measure: str, student: float, teacher: float, kept: Retention) -> Score:
    """Tell both models' mean of a measure, and what the student keeps of it."""
    return Score(
        measure=measure,
        student=f"{student:.4f}",
        teacher=f"{teacher:.4f}",
        retention=f"{kept.value:.4f}",
        retention_low=f"{kept.low:.4f}",
        retention_high=f"{kept.high:.4f}",
    )


def speed(timings: Timings, decimals: int = 1) -> Speed:
    """Tell latencies in milliseconds, and items per second with so many decimals."""
    return Speed(
        p50_milliseconds=f"{1000 * timings.percentile(50):.3f}",
        p95_milliseconds=f"{1000 * timings.percentile(95):.3f}",
        p99_milliseconds=f"{1000 * timings.percentile(99):.3f}",
        items_per_second=f"{timings.texts_per_second:.{decimals}f}",
    )
