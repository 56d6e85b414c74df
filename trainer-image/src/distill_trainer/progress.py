"""Tells how far a stage is: plain log lines, and pushes from a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distill_api.status import Metric, SweepStatus
from distill_api.wire import Progress as Push
from distill_api.wire import TrainerStatus

if TYPE_CHECKING:
    import ssl

PUSH_INTERVAL: Final = 2.0
"""Seconds between two pushes, at least."""
LOG_INTERVAL: Final = 5.0
"""Seconds between two log lines, at least."""
LAST_PUSH_TIMEOUT: Final = 3.0
"""Seconds that the end of a stage waits for its last push."""

type Number = float | int | str

log = logging.getLogger(__name__)


def estimate(done: float, total: float, *, began: float, now: float, first: float) -> int | None:
    """Estimate the seconds that are left from the pace since `began`, when `first` was done.

    None before anything was done: no pace is known.
    """
    if done <= first or total <= 0:
        return None
    pace = (now - began) / (done - first)
    return max(0, round(pace * (total - done)))


def percentage(done: float, total: float) -> int:
    """Return the share that is done, 0 to 100, never rounded up."""
    percent = int(100 * done / total) if total > 0 else 0
    return min(100, max(0, percent))


def status(
    percent: int | None, remaining: int | None, metrics: Mapping[str, Number]
) -> TrainerStatus:
    """Build the body of a push."""
    return TrainerStatus(
        progress_percentage=percent,
        estimated_remaining_seconds=remaining,
        metrics=[Metric(name=name[:64], value=text(value)) for name, value in metrics.items()][:64],
        last_updated_time=datetime.now(UTC).isoformat(),
    )


def text(value: Number) -> str:
    """Write a number with at most six significant digits."""
    return (f"{value:.6g}" if isinstance(value, float) else str(value))[:64]


@dataclass(slots=True)
class Pace:
    """Since when a count runs, to estimate its end."""

    began: float
    first: float
    total: float


class Progress:
    """Where a stage says how far it is. Never blocks and never fails the stage."""

    def __init__(self, send: Callable[[Push], None] | None = None) -> None:
        self._send = send
        self._pace: Pace | None = None
        self._logged = -LOG_INTERVAL
        self._latest: Push | None = None
        self.sweep: SweepStatus | None = None
        """What is known of the trials, where several students are trained."""
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        if send is not None:
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()

    def tell(
        self, done: float, total: float, metrics: Mapping[str, Number] | None = None, what: str = ""
    ) -> None:
        """Say that `done` of `total` is done.

        what: a word for the log, such as `label`; a change of total begins a new estimate.
        """
        now = time.monotonic()
        if self._pace is None or self._pace.total != total or done < self._pace.first:
            self._pace = Pace(now, done, total)
        pace = self._pace
        remaining = estimate(done, total, began=pace.began, now=now, first=pace.first)
        latest = status(percentage(done, total), remaining, metrics or {})
        self._say(_line(what, latest), latest, whole=done >= total)

    def mention(self, metrics: Mapping[str, Number], what: str) -> None:
        """Say how far something is that is not the stage's own work, such as a download.

        The stage's percentage stays where it is, so that it only ever rises.
        """
        latest = status(None, None, metrics)
        self._say(_line(what, latest), latest, whole=False)

    def _say(self, line: str, latest: TrainerStatus, *, whole: bool) -> None:
        self._latest = Push(trainer_status=latest, sweep=self.sweep)
        self._wake.set()
        now = time.monotonic()
        if now - self._logged >= LOG_INTERVAL or whole:
            self._logged = now
            log.info("%s", line)

    def close(self) -> None:
        """Send the last word, if there is one, and stop."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(LAST_PUSH_TIMEOUT)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            self._push()
            if not self._closed:
                time.sleep(PUSH_INTERVAL)
        self._push()

    def _push(self) -> None:
        push, self._latest = self._latest, None
        if push is None or self._send is None:
            return
        try:
            self._send(push)
        except Exception as error:  # noqa: BLE001 - a lost push must not end a stage
            log.debug("progress was not delivered: %s", type(error).__name__)


def _line(what: str, latest: TrainerStatus) -> str:
    share = "" if latest.progress_percentage is None else f" {latest.progress_percentage}%"
    parts = [f"{what}{share}".strip()]
    if latest.estimated_remaining_seconds is not None:
        parts.append(f"{latest.estimated_remaining_seconds}s left")
    parts += [f"{metric.name}={metric.value}" for metric in latest.metrics or []]
    return " ".join(parts)


@dataclass(slots=True)
class HttpSender:
    """Posts progress with the projected token, read anew each time because it is rotated."""

    url: str
    ca_file: Path | None
    token_file: Path | None
    timeout: float = 5.0
    warned: bool = field(default=False)

    def __call__(self, push: Push) -> None:
        """Post one push; raises nothing that the caller does not expect to swallow."""
        import httpx

        headers = {"Content-Type": "application/json"}
        if self.token_file is not None and self.token_file.is_file():
            headers["Authorization"] = f"Bearer {self.token_file.read_text().strip()}"
        body = push.model_dump_json(by_alias=True, exclude_none=True)
        verify = self._context()
        response = httpx.post(
            self.url, content=body, headers=headers, verify=verify, timeout=self.timeout
        )
        if response.is_error and not self.warned:
            self.warned = True
            log.warning("the operator refused progress: %d", response.status_code)

    def _context(self) -> "ssl.SSLContext | bool":
        import ssl

        if self.ca_file is None or not self.ca_file.is_file():
            return True
        return ssl.create_default_context(cafile=str(self.ca_file))
