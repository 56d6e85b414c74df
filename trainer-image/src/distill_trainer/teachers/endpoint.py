"""A teacher behind an OpenAI-compatible server, asked over HTTP."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
import tenacity
from distill_api.names import Reason
from distill_api.teacher import Endpoint

from distill_trainer.errors import BadInput, TryAgain, last_line
from distill_trainer.teachers import Embedded, Tell

ATTEMPTS: Final = 6
"""Of one request; the stage's own retries come on top."""
LONGEST_WAIT: Final = 60.0
"""Seconds between two attempts, at most; Retry-After may ask for as much."""


PATIENT: Final = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})
"""Answers below 500 that may be others later."""
UNREADABLE: Final = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, StopIteration,
)  # fmt: skip
"""What reading an answer of another form raises."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whose:
    """Who is asked, in sentences, and where the spec names it."""

    who: str = "The teacher"
    field: str = "teacher.endpoint"


TEACHER: Final = Whose()


class Busy(Exception):
    """The server asks for patience: 429, 5xx, a broken connection, half an answer."""

    def __init__(self, detail: str, after: float | None) -> None:
        super().__init__(detail)
        self.after = after


class Refused(BadInput):
    """The server refuses the request itself, whoever asks and however often."""

    def __init__(self, code: int, detail: str, message: str) -> None:
        super().__init__(Reason.TEACHER_UNREACHABLE, message)
        self.code, self.detail = code, detail


@dataclass(slots=True)
class Budget:
    """Tokens that may be spent, over all attempts of the stage."""

    limit: int | None
    spent: int = 0
    whose: Whose = TEACHER

    def check(self) -> None:
        """Raise BadInput where the budget is used up."""
        if self.limit is not None and self.spent >= self.limit:
            raise BadInput(
                Reason.BAD_RECIPE,
                f"{self.whose.field}.tokenBudget is used up: {self.spent} of {self.limit} tokens."
                " What was labelled stays in the cache; create the job again with a higher"
                " tokenBudget or with data.maxRecords",
            )

    def add(self, tokens: int) -> None:
        """Count the tokens of an answer; BadInput where a server that has a budget tells none."""
        if self.limit is not None and tokens == 0:
            raise BadInput(
                Reason.BAD_RECIPE,
                f"{self.whose.who}'s server tells no usage in its answers, so"
                f" {self.whose.field}.tokenBudget could not be kept: remove it, and limit"
                " data.maxRecords, or use a server that tells usage.total_tokens",
            )
        self.spent += tokens


class Server:
    """An OpenAI-compatible server: asked with bounded rate, patience and budget."""

    def __init__(self, endpoint: Endpoint, key: str | None, budget: Budget) -> None:
        self.endpoint = endpoint
        self.budget = budget
        self._key = key
        self._answered = self._counted = False
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=endpoint.timeout_seconds)
        self.pool = ThreadPoolExecutor(endpoint.max_concurrency)
        """As many threads as requests may be under way at once."""
        self._pace = Pacer(endpoint.requests_per_minute)

    def ask[T](
        self, path: str, body: dict[str, Any] | None, read: Callable[[Any], tuple[T, int]]
    ) -> tuple[T, int]:
        """Post a body, or get what is there where there is none.

        Return what `read` makes of the answer, and the tokens it cost.

        read: raises ValueError, KeyError or TypeError where the answer is none. Raises TryAgain or
        BadInput as the server's answers mean.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Busy),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=wait,
            reraise=True,
        )
        try:
            return retrying(self._once, path, body, read)
        except Busy as error:
            raise TryAgain(
                Reason.TEACHER_UNREACHABLE,
                f"{self._who} did not answer after {ATTEMPTS} attempts: {error}. Check that it"
                f" runs, lower {self._field}.maxConcurrency, or raise its timeoutSeconds",
            ) from error

    def close(self) -> None:
        """Close connections."""
        self.pool.shutdown(cancel_futures=True)
        self._client.close()

    def _once[T](
        self, path: str, body: dict[str, Any] | None, read: Callable[[Any], tuple[T, int]]
    ) -> tuple[T, int]:
        self.budget.check()
        self._pace.wait()
        try:
            response = self._client.request(
                "GET" if body is None else "POST",
                f"{self.endpoint.url.rstrip('/')}/{path}",
                json=body,
            )
        except httpx.TransportError as error:
            raise Busy(last_line(error), None) from error
        self._check(response)
        try:
            found, tokens = read(response.json())
        except UNREADABLE as error:
            said = type(error) is ValueError  # by whoever reads it, of an answer that is one
            detail = str(error) if said else last_line(error)
            if self._answered and not said:
                # It has answered well before: a gateway's page, or half of an answer.
                raise Busy(f"an answer that cannot be read ({detail})", None) from error
            raise self.strange(path, detail) from error
        self._answered = True
        if body is not None:
            self._count(path, tokens)
        return found, tokens

    def _count(self, path: str, tokens: int) -> None:
        if path.startswith("v2/"):  # of a protocol that counts none
            return
        self.budget.add(tokens)
        if not tokens and not self._counted:
            self._counted = True
            log.warning("%s tells no usage: its tokens count as none", self._who)

    @property
    def _who(self) -> str:
        return f"{self.budget.whose.who} at {self.endpoint.url}"

    @property
    def _field(self) -> str:
        return self.budget.whose.field

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        code, detail = response.status_code, self._shown(response.text)
        where = f"{self._who} answered HTTP {code}: {detail}"
        if code in PATIENT or response.is_server_error:
            raise Busy(f"HTTP {code}: {detail}".rstrip(": "), _retry_after(response))
        if code in {401, 403}:
            raise TryAgain(
                Reason.SECRET_MISSING,
                f"{where}. Correct the key in the Secret of {self._field}.apiKeySecretRef, the"
                " stage is tried again",
            )
        raise Refused(
            code,
            detail,
            f"{where}. Check {self._field}.url and model, and that texts are not longer than"
            " the model allows",
        )

    def _shown(self, text: str) -> str:
        """Return the beginning of what a server says; some repeat the key that they were sent."""
        return (text.replace(self._key, "***") if self._key else text)[:300]

    def strange(self, path: str, detail: str) -> BadInput:
        """Return the failure of a server that answers in a way that we do not know."""
        return BadInput(
            Reason.TEACHER_UNREACHABLE,
            f"{self._who} does not answer like"
            f" {'/' if path.startswith('v2/') else '/v1/'}{path}: {detail}."
            f" Check {self._field}.url, model and dimension",
        )


class EndpointTeacher:
    """Sends batches with bounded concurrency and rate; gives embeddings in the texts' order."""

    max_length: int | None = None

    def __init__(
        self, endpoint: Endpoint, key: str | None, batch_size: int, budget: Budget
    ) -> None:
        self.endpoint = endpoint
        self.batch_size = batch_size
        self.budget = budget
        self._server = Server(endpoint, key, budget)

    def embed(self, texts: Sequence[str], *, prompt: str, tell: Tell | None = None) -> Embedded:
        """Embed texts; raises TryAgain or BadInput as the server's answers mean."""
        batches = [
            [prompt + text for text in texts[start : start + self.batch_size]]
            for start in range(0, len(texts), self.batch_size)
        ]
        rows: list[Any] = []
        tokens = 0
        answers = self._server.pool.map(self._ask, batches)
        for batch, (vectors, used) in zip(batches, answers, strict=True):
            rows.append(vectors)
            tokens += used
            if tell is not None:
                tell(len(batch), used)
        return Embedded(np.concatenate(rows), tokens)

    def close(self) -> None:
        """Close connections."""
        self._server.close()

    def _ask(self, batch: list[str]) -> tuple[Any, int]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "input": batch,
            "encoding_format": "float",
        }
        if self.endpoint.dimension is not None:
            body["dimensions"] = self.endpoint.dimension
        return self._server.ask("embeddings", body, lambda answer: self._parse(answer, len(batch)))

    def _parse(self, answer: Any, count: int) -> tuple[Any, int]:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = np.asarray([row["embedding"] for row in rows], dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != count:
            raise ValueError(f"{len(vectors)} embeddings for {count} texts")
        if [row["index"] for row in rows] != list(range(count)):
            raise ValueError(f"the embeddings' indices are not those of {count} texts")
        wanted = self.endpoint.dimension
        if wanted is not None and vectors.shape[1] != wanted:
            raise ValueError(f"width {vectors.shape[1]} instead of dimension {wanted}")
        return vectors, usage(answer)


def usage(answer: Any) -> int:
    """Return the tokens that an answer cost; 0 where the server does not tell."""
    told = answer.get("usage") or {}
    return int(told.get("total_tokens") or told.get("prompt_tokens") or 0)


class Pacer:
    """Holds requests back so that no more than so many start in a minute."""

    def __init__(self, per_minute: int | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - now))


def wait(state: tenacity.RetryCallState) -> float:
    """Wait as long as the server asked for, else exponentially with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Busy) and error.after is not None:
        return min(error.after, LONGEST_WAIT)
    return tenacity.wait_exponential_jitter(initial=1, max=LONGEST_WAIT)(state)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
