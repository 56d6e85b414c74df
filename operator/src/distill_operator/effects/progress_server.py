"""The endpoint where trainer pods push their progress, in Kubeflow Trainer's protocol."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from distill_api import names
from distill_api.names import Label, Stage
from distill_api.wire import Progress
from pydantic import ValidationError

from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.callers import Allowance, Callers
from distill_operator.effects.metrics import Metrics
from distill_operator.plan.model import ObservedProgress

PATH: Final = "/v1/progress"
BODY_LIMIT: Final = 64 * 1024

type Keep = Callable[[str, Stage, ObservedProgress], None]
"""Called with the job's uid, the stage and the progress."""

CODES: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (errors.Unauthorised, 401, "Unauthorized"),
    (errors.TooMany, 429, "TooManyRequests"),
    (errors.NotYet, 503, "ServiceUnavailable"),
    (errors.BadSpec, 422, "Invalid"),
    (errors.Refused, 502, "InternalError"),
)
"""The first class that fits decides."""


class ProgressServer:
    """Takes pushes of pods that can prove who they are, as long as this replica leads."""

    def __init__(
        self,
        callers: Callers,
        allowance: Allowance,
        metrics: Metrics,
        require_lead: Callable[[], None],
        keep: Keep,
    ) -> None:
        self._callers = callers
        self._allowance = allowance
        self._metrics = metrics
        self._require_lead = require_lead
        self._keep = keep

    def application(self) -> web.Application:
        """Return the application with its one path."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.add_routes([web.post(PATH, self._push)])
        return app

    async def _push(self, request: web.Request) -> web.Response:
        """Answer as Kubernetes does: the body taken over, or a Status with a sentence."""
        try:
            progress = await self._take(request)
        except errors.DistillationError as error:
            return self._answer(*_refusal(error), str(error))
        self._metrics.pushes.labels("200").inc()
        return web.json_response(progress.model_dump(mode="json", by_alias=True, exclude_none=True))

    async def _take(self, request: web.Request) -> Progress:
        self._require_lead()
        pod = await self._callers.pod(_token(request), request.remote or "")
        self._allowance.spend(pod["metadata"]["uid"])
        progress = await _body(request)
        seen = observe.pod(pod)
        owner = (pod["metadata"].get("labels") or {}).get(Label.JOB_UID)
        if seen is None or owner is None:
            raise errors.Unauthorised("the token's pod belongs to no stage of a DistillationJob")
        status, sweep = progress.trainer_status, progress.sweep
        received = ObservedProgress(seen.uid, datetime.now(UTC), status, sweep)
        self._keep(owner, seen.stage, received)
        return progress

    def _answer(self, code: int, reason: str, message: str) -> web.Response:
        self._metrics.pushes.labels(str(code)).inc()
        status = {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }
        headers = {"Retry-After": "5"} if code in {429, 503} else {}
        return web.json_response(status, status=code, headers=headers)


def _refusal(error: errors.DistillationError) -> tuple[int, str]:
    for kind, code, reason in CODES:
        if isinstance(error, kind):
            return code, reason
    return 500, "InternalError"


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(request: web.Request) -> Progress:
    try:
        text = await request.text()
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.BadSpec(f"the body is larger than {BODY_LIMIT} bytes") from error
    except UnicodeDecodeError as error:
        raise errors.BadSpec("the body is not UTF-8 text") from error
    try:
        return Progress.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise errors.BadSpec(
            f"{place}: {first['msg']}; expected"
            ' {"trainerStatus": {"progressPercentage": …, "metrics": [{"name": …, "value": …}]}}'
            f" as {names.GROUP} documents it"
        ) from error
