"""How numbers, times and names are written for people."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from distill_api.names import Stage

MESSAGE = 2000
"""Characters of a sentence in status."""
LARGEST = 1e15
"""Numbers of reports and prices are cut here: no job is worth more, and status has no room."""
NOTE = 1000
"""Characters of an Event's note."""


def cut(text: str, limit: int = MESSAGE) -> str:
    """Shorten a text; the end goes, as a sentence starts with what matters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clause(words: str) -> str:
    """Return somebody else's sentence so that ours can go on after it."""
    return words.strip().rstrip(".")


def last_lines(text: str, *, lines: int = 10, limit: int = 1000) -> str:
    """Return the end of a log, where a program says why it stopped."""
    kept = "\n".join(text.strip().splitlines()[-lines:])
    return kept if len(kept) <= limit else "…" + kept[1 - limit :]


def duration(span: timedelta) -> str:
    """Write a span as `2h3m`, `3m10s` or `5s`."""
    seconds = max(0, int(span.total_seconds()))
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def since(start: datetime | None, end: datetime) -> str:
    """Write how long something took, or nothing where its start is not known."""
    return "" if start is None else f" in {duration(end - start)}"


def number(value: float, digits: int = 6) -> str:
    """Write a number as the status wants it: decimal, without trailing zeros."""
    value = max(-LARGEST, min(value, LARGEST))
    rounded = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return rounded if rounded not in ("", "-0") else "0"


def money(amount: float, currency: str) -> str:
    """Write an amount with two decimals, or with more where two would show nothing."""
    exact = Decimal(repr(max(-LARGEST, min(amount, LARGEST))))
    step = Decimal("0.01") if amount == 0 or amount >= 0.01 else Decimal("0.0001")
    return f"{exact.quantize(step, ROUND_HALF_UP)} {currency}"


def percent(share: str) -> str:
    """Write a share such as `0.973` as `97.3%`."""
    return f"{float(share) * 100:.1f}%"


def times(factor: str) -> str:
    """Write a factor such as `3.41` as `3.4x`."""
    return f"{float(factor):.1f}x"


def listed(stages: tuple[Stage, ...]) -> str:
    """Write stages as `Label, Prepare and Train`."""
    names = [stage.value for stage in stages]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
