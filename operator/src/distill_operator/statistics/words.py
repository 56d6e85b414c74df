"""Findings in words: what was counted, what it makes probable, what the limit is, what is next."""

from decimal import Decimal

from distill_operator.statistics.verdict import Counted, Finding, Forecast, Saving, Verdict


def explain(finding: Finding) -> str:
    """Return one paragraph that explains a finding to a person."""
    if finding.verdict is Verdict.NO_DATA:
        return f"{finding.metric}: {_no_data(finding)}"
    if finding.saving is not None:
        parts = (_spent(finding, finding.saving), _enough(finding, finding.saving))
    else:
        parts = (_seen(finding), _conclusion(finding))
    return f"{finding.metric}: {' '.join(part for part in (*parts, _caution(finding)) if part)}"


def forecast(told: Forecast, unit: str = "student requests") -> str:
    """Say how long a decision still takes: "needs about 1,400 more student requests, 47 min"."""
    more = f"needs about {_rounded(told.requests):,} more {unit}"
    if told.seconds is None:
        return f"{more} (none arrive at present)" if told.stalled else more
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
    """Write a share in percent, with two significant digits at least: 0.84 %, 12.5 %, 0.0045 %."""
    value = 100 * share
    if value < 0.1:
        value = float(f"{value:.2g}")
    text = f"{value:.{1 if value >= 10 else 2 if value >= 0.1 else 4}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def _no_data(finding: Finding) -> str:
    known = finding.reference
    if known is not None and known.unknown is not None:
        return f"there is nothing to compare with, so nothing is decided: {known.unknown}."
    if not finding.student.count:
        return "nothing was measured yet, so nothing is decided."
    kept = _unit(finding, finding.student.count)
    return f"nothing can be measured at present; the evidence of {kept} is kept."


def _spent(finding: Finding, found: Saving) -> str:
    """Say what was summed up: "in 24 h 12,000 requests of the student cost ..."."""
    counted = f"{_unit(finding, finding.student.count)} of the student"
    paid, instead = (_money(amount, found.currency) for amount in (found.student, found.teacher))
    share = f"{percent(found.share)} saved" if found.share >= 0 else f"{percent(-found.share)} more"
    sums = f"cost {paid} instead of {instead} at the given prices: {share}"
    return f"in {duration(found.seconds)} {counted} {sums}."


def _enough(finding: Finding, found: Saving) -> str:
    asked = f"at least {percent(finding.limit)} is asked for"
    if finding.verdict is not Verdict.UNDECIDED:
        return f"{finding.verdict}: {asked}."
    left = duration(found.window - found.seconds)
    return f"Undecided until {duration(found.window)} were watched, {left} more; {asked}."


def _money(amount: float, currency: str) -> str:
    """Write an amount with two decimals, or two significant digits where it is small."""
    exact = f"{amount:,.2f}" if amount >= 1 else f"{Decimal(f'{amount:.2g}'):f}"
    return f"{exact} {currency}"


def _seen(finding: Finding) -> str:
    student = finding.student
    if student.failures is None:
        return f"over {_unit(finding, student.count)} the student keeps {_kept(finding)}."
    if not student.count:
        return ""
    since = f" after the first {student.since:,}" if student.since else ""
    told = (
        f"{student.failures:,} of {student.count:,} requests of the student{since} {finding.what}"
    )
    return f"{told}{_bounds(student, finding.level)}."


def _kept(finding: Finding) -> str:
    student = finding.student
    if student.estimate is None:
        return f"nothing that can be compared: the teacher's {finding.what} is 0"
    share = f"{percent(student.estimate)} of {_reference(finding)}"
    if student.interval is None:
        return share
    low, high = percent(student.interval.low), percent(student.interval.high)
    return f"{share} ({_confidence(finding.level)} interval {low} to {high})"


def _reference(finding: Finding) -> str:
    """Say what scores are compared with: "the teacher's nDCG@10", "the previous one's 0.61"."""
    known = finding.reference
    if known is None or known.score is None:
        return f"the teacher's {finding.what}"
    return f"{known.whose} {known.score:.3g} ({finding.what})"


def _bounds(counted: Counted, level: float) -> str:
    if counted.estimate is None or counted.interval is None:
        return ""
    low, high = percent(counted.interval.low), percent(counted.interval.high)
    return f" ({percent(counted.estimate)}, {_confidence(level)} interval {low} to {high})"


def _conclusion(finding: Finding) -> str:
    fine, limit = _limits(finding)
    match finding.verdict:
        case Verdict.REGRESSED:
            return f"Regressed: fine is {fine}, the limit is {limit}.{_teacher(finding)}"
        case Verdict.ENVIRONMENT_FAULT if finding.forecast is not None:
            return (
                "Something that both arms depend on was broken; waiting until the student is found"
                f" fine again, {forecast(finding.forecast)}."
            )
        case Verdict.ENVIRONMENT_FAULT:
            return (
                f"That is above the limit of {limit}, but not the student's fault:"
                f" something that both arms depend on is broken.{_teacher(finding)}"
            )
        case Verdict.HEALTHY:
            return f"Healthy: tested against a limit of {limit}."
        case _:
            return _undecided(finding)


def _limits(finding: Finding) -> tuple[str, str]:
    """Write what is fine, and the limit: rates, shares, or multiples of the teacher's rate."""
    if finding.relative:
        return "the teacher's rate", f"{finding.limit:g} times the teacher's rate"
    side = "more" if finding.student.failures is None else "less"
    return f"{percent(finding.fine)} or {side}", percent(finding.limit)


def _undecided(finding: Finding) -> str:
    fine, limit = _limits(finding)
    told = f"Undecided between fine ({fine}) and regressed ({limit})"
    if finding.evidence is not None:
        back, on = finding.evidence.towards_rollback, finding.evidence.towards_healthy
        way = (
            f"{back:.0%} of the way to rollback" if back > on else f"{on:.0%} of the way to healthy"
        )
        told += f", {way.replace('%', ' %')}"
    if finding.exhausted and finding.student.failures is None:
        return (
            f"{told}. Every query was asked: add queries or raise maxQueries,"
            " or a person has to promote or abort."
        )
    if finding.exhausted:
        return (
            f"{told}. Enough was seen, the truth lies in between: a person has to promote or abort."
        )
    if finding.forecast is None:
        return f"{told}."
    unit = "student requests" if finding.student.failures is not None else _noun(finding)
    return f"{told}; {forecast(finding.forecast, unit)}."


def _teacher(finding: Finding) -> str:
    teacher = finding.teacher
    if teacher is None or teacher.failures is None or teacher.estimate is None:
        return ""
    told = f"{teacher.failures:,} of {teacher.count:,} ({percent(teacher.estimate)})"
    return f" Of the teacher's requests, {told} {finding.what}."


def _caution(finding: Finding) -> str:
    told = []
    if finding.warn and finding.verdict in {Verdict.HEALTHY, Verdict.UNDECIDED}:
        told.append("Warning: this is worse than it should be.")
    if finding.effect > 1.05:
        told.append(f"Failures come in bursts, so {finding.effect:.1f} requests count as one.")
    return " ".join(told)


def _unit(finding: Finding, count: int) -> str:
    return f"{count:,} {_noun(finding)}"


def _noun(finding: Finding) -> str:
    if finding.student.failures is not None or finding.saving is not None:
        return "requests"
    return "pairs" if finding.reference is None else "queries"


def _confidence(level: float) -> str:
    return percent(1 - level)


def _rate(per_second: float) -> str:
    return f"{per_second:.1f} a second" if per_second >= 0.1 else f"{per_second * 60:.1f} a minute"


def _rounded(count: int) -> int:
    """Keep two significant digits: a forecast is no more exact than that."""
    return round(count, 2 - len(str(count))) if count >= 100 else count
