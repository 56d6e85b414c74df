"""Findings in words: what was counted, what it makes probable, what the limit is, what is next."""

from distill_operator.statistics.verdict import Counted, Finding, Forecast, Verdict


def explain(finding: Finding) -> str:
    """Return one paragraph that explains a finding to a person."""
    if finding.verdict is Verdict.NO_DATA:
        return f"{finding.metric}: {_no_data(finding)}"
    parts = (_seen(finding), _conclusion(finding), _caution(finding))
    return f"{finding.metric}: {' '.join(part for part in parts if part)}"


def forecast(told: Forecast) -> str:
    """Say how long a decision still takes: "needs about 1,400 more ..., 47 min"."""
    more = f"needs about {_rounded(told.requests):,} more"
    if told.seconds is None:
        return f"{more} (none arrive at present)"
    return f"{more}, {duration(told.seconds)} at {_rate(told.requests / told.seconds)}"


def duration(seconds: float) -> str:
    """Write a duration with one unit: 45 s, 47 min, 6.3 h, 3 d."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"


def percent(share: float) -> str:
    """Write a share in percent with two significant digits at least: 0.84 %, 12 %, 98.6 %."""
    value = 100 * share
    digits = 1 if value >= 10 else 2 if value >= 0.1 or value == 0 else 4
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return f"{text} %"


def _no_data(finding: Finding) -> str:
    if not finding.student.count:
        return "nothing was measured yet, so nothing is decided."
    kept = _unit(finding, finding.student.count)
    return f"nothing can be measured at present; the evidence of {kept} is kept."


def _seen(finding: Finding) -> str:
    student = finding.student
    if student.failures is None:
        return f"over {student.count:,} pairs the student keeps {_kept(finding)}."
    since = f" after the first {student.since:,}" if student.since else ""
    told = (
        f"{student.failures:,} of {student.count:,} requests of the student{since} {finding.what}"
    )
    return f"{told}{_bounds(student, finding.level)}."


def _kept(finding: Finding) -> str:
    student = finding.student
    if student.estimate is None:
        return f"an unknown share of the teacher's {finding.what}, which is 0"
    share = f"{percent(student.estimate)} of the teacher's {finding.what}"
    if student.interval is None:
        return share
    low, high = percent(student.interval.low), percent(student.interval.high)
    return f"{share} ({_confidence(finding.level)} interval {low} to {high})"


def _bounds(counted: Counted, level: float) -> str:
    if counted.estimate is None or counted.interval is None:
        return ""
    low, high = percent(counted.interval.low), percent(counted.interval.high)
    return f" ({percent(counted.estimate)}, {_confidence(level)} interval {low} to {high})"


def _conclusion(finding: Finding) -> str:
    limit, fine = percent(finding.limit), percent(finding.fine)
    match finding.verdict:
        case Verdict.REGRESSED:
            return (
                f"Regressed: the limit is {limit}, up to {fine} would be fine.{_teacher(finding)}"
            )
        case Verdict.ENVIRONMENT_FAULT:
            return (
                f"This is above the limit of {limit}, but the student is not to blame:"
                f"{_teacher(finding)} Something that both depend on is at fault."
            )
        case Verdict.HEALTHY:
            return f"Healthy: tested against a limit of {limit}."
        case _:
            return _undecided(finding)


def _undecided(finding: Finding) -> str:
    limit, fine = percent(finding.limit), percent(finding.fine)
    told = f"Undecided between fine ({fine}) and regressed ({limit})"
    if finding.evidence is not None:
        back, on = finding.evidence.towards_rollback, finding.evidence.towards_healthy
        way = (
            f"{back:.0%} of the way to rollback" if back > on else f"{on:.0%} of the way to healthy"
        )
        told += f", {way}"
    if finding.exhausted:
        return (
            f"{told}. Enough was seen: the truth lies in between. Promote by hand, or move the"
            " limits apart."
        )
    if finding.forecast is None:
        return f"{told}."
    return f"{told}; {forecast(finding.forecast)}."


def _teacher(finding: Finding) -> str:
    teacher = finding.teacher
    if teacher is None or teacher.failures is None or teacher.estimate is None:
        return ""
    told = f"{teacher.failures:,} of {teacher.count:,} ({percent(teacher.estimate)})"
    return f" Of the teacher's requests at the same time, {told} {finding.what}."


def _caution(finding: Finding) -> str:
    told = []
    if finding.warn and finding.verdict is not Verdict.REGRESSED:
        told.append("Warning: this is worse than it should be.")
    if finding.effect > 1.05:
        told.append(f"Requests come in bursts: {finding.effect:.1f} count as one independent one.")
    return " ".join(told)


def _unit(finding: Finding, count: int) -> str:
    return f"{count:,} {'pairs' if finding.student.failures is None else 'requests'}"


def _confidence(level: float) -> str:
    return percent(1 - level)


def _rate(per_second: float) -> str:
    return f"{per_second:.1f} a second" if per_second >= 0.1 else f"{per_second * 60:.1f} a minute"


def _rounded(count: int) -> int:
    """Keep two significant digits: a forecast is no more exact than that."""
    return round(count, 2 - len(str(count))) if count >= 100 else count
