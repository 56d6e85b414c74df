"""What a student saves against its teacher, at the prices of the spec.

Formulas of the guide: savings a day = requests x (teacher's price - student's price);
break-even in days = what the job cost / savings a day.
"""

from distill_api.outcome import Prices
from distill_api.rollout_status import Savings

from distill_operator.plan import cost, text
from distill_operator.statistics import saving


def of(prices: Prices, job_cost: float | None) -> Savings | None:
    """Return the savings; None unless a price for both sides is given.

    job_cost: what the job that made the student cost, in the currency of the prices; None where
    no job is named or it has no prices.
    """
    teacher, student = prices.teacher_million_requests, prices.student_million_requests
    if not teacher or student is None:
        return None
    daily = cost.savings_per_day(prices)
    return Savings(
        currency=prices.currency,
        teacher_million_requests=text.number(teacher),
        student_million_requests=text.number(student),
        share=text.number(saving.Prices(prices.currency, teacher, student).share),
        per_day=None if daily is None else text.number(daily, 4),
        break_even_days=None if job_cost is None else cost.break_even(job_cost, daily),
    )
