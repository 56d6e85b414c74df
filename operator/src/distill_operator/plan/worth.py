"""What the checklists of jobs and of rollouts say about money, in the same words."""

from typing import Final

from distill_operator.plan import text
from distill_operator.plan.evidence import Finding, failed, held, person, proven

SAVINGS: Final = 0.5
"""Share of the teacher's price that the guide wants saved."""
DAYS_PER_MONTH: Final = 30


def unpriced() -> Finding:
    """Return what is asked for where prices or the number of requests are missing."""
    return person("Set prices.teacherMillionRequests, studentMillionRequests and dailyRequests.")


def monthly(per_day: str, currency: str) -> Finding:
    """Judge what is saved a month; per_day: a decimal number of the currency."""
    amount = float(per_day) * DAYS_PER_MONTH
    return held(amount > 0, f"{text.money(amount, currency)} a month.")


def never_paid() -> Finding:
    """Return the failure of a student that costs as much as its teacher."""
    return failed("The student saves nothing at these prices.")


def paid(days: str) -> Finding:
    """Return the proof that the job pays for itself after so many days."""
    return proven(f"After {days} days.")


def half(share: float | None) -> Finding:
    """Judge the share of the teacher's price that is saved; None where a price is missing."""
    if share is None:
        return person("Set prices.teacherMillionRequests and prices.studentMillionRequests.")
    return held(share > SAVINGS, f"The student saves {share * 100:.1f}% of the teacher's price.")
