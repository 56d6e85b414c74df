"""Whether the server lives, and whether it wants requests; and the pages around the model."""

from typing import Literal

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from distill_server.service import Service


class Feedback(BaseModel):
    """A user's vote; id: of the answer, variant: its x-model-variant, this arm by default."""

    id: str = Field(min_length=1, max_length=256)
    value: Literal["up", "down"]
    variant: Literal["teacher", "student"] | None = None


async def live(_request: Request) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Say whether requests are wanted: 503 once the server drains."""
    service: Service = request.app.state.service
    if service.drain.begun:
        return PlainTextResponse("the server is being taken down\n", 503)
    return PlainTextResponse("ok\n")


async def model_ready(request: Request) -> Response:
    """Say the same of the one model that is served."""
    service: Service = request.app.state.service
    service.refuse_other_model(request.path_params["model"])
    return await ready(request)


async def models(request: Request) -> Response:
    """List the model as OpenAI does."""
    name = request.app.state.service.settings.served_model_name
    one = {"id": name, "object": "model", "created": 0, "owned_by": "kubedistill"}
    return JSONResponse({"object": "list", "data": [one]})


async def metrics(request: Request) -> Response:
    """Write the counters in Prometheus' text format."""
    service: Service = request.app.state.service
    text = generate_latest(service.telemetry.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def feedback(service: Service, body: Feedback, _request: Request) -> Response:
    """Count a vote for the arm that gave the answer; sent again by a retry, it is the same one."""
    if service.voters.first(body.id):
        service.telemetry.vote(body.value, body.variant or service.settings.arm)
    return Response(status_code=204)
