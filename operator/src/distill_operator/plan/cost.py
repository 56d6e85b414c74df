"""What the job cost, what the student saves, and when that pays off.

Formulas of the guide: savings a day = requests x (teacher's price - student's price);
break-even in days = cost / savings a day.
"""

from collections.abc import Iterable

from distill_api.outcome import Prices
from distill_api.status import Cost, StageStatus, Usage

from distill_operator.plan import text, usage

HOUR = 3600
MILLION = 1_000_000


def of_job(stages: Iterable[StageStatus], prices: Prices) -> Cost | None:
    """Return the cost of everything that reported; None before anything did."""
    used = usage.total(stage.usage for stage in stages if stage.usage is not None)
    if used is None:
        return None
    spent = amount(used, prices)
    saved = savings_per_day(prices)
    return Cost(
        currency=prices.currency,
        amount=text.number(spent),
        cpu_seconds=used.cpu_seconds or "0",
        gpu_seconds=used.gpu_seconds or "0",
        teacher_tokens=used.teacher_tokens or 0,
        savings_per_day=None if saved is None else text.number(saved, 4),
        break_even_days=break_even(spent, saved),
    )


def amount(used: Usage, prices: Prices) -> float:
    """Return the price of what was used, in the currency of the prices."""
    return (
        float(used.cpu_seconds or 0) / HOUR * prices.cpu_hour
        + float(used.gpu_seconds or 0) / HOUR * prices.gpu_hour
        + (used.teacher_tokens or 0) / MILLION * prices.teacher_million_tokens
    )


def savings_per_day(prices: Prices) -> float | None:
    """Return what the student saves a day; None unless requests and both prices are given."""
    teacher, student = prices.teacher_million_requests, prices.student_million_requests
    if teacher is None or student is None or prices.daily_requests is None:
        return None
    return prices.daily_requests / MILLION * (teacher - student)


def priced(prices: Prices) -> bool:
    """Tell whether anything has a price: without one, an amount of 0 says nothing."""
    return any((prices.cpu_hour, prices.gpu_hour, prices.teacher_million_tokens))


def break_even(spent: float, saved: float | None) -> str | None:
    """Return the days after which what was spent is saved; saved: a day, None where unknown."""
    # A student that saves nothing never pays off: there is no number of days to write.
    return text.number(spent / saved, 2) if saved is not None and saved > 0 else None
