"""From settings to a server that drains: model, application, port."""

from typing import Final

import uvicorn

from distill_server.api import application
from distill_server.api.observing import HANDLERS
from distill_server.draining import Drain, DrainingServer
from distill_server.models import served
from distill_server.service import Service
from distill_server.settings import Settings
from distill_server.telemetry import Telemetry

IDLE_SECONDS: Final = 3900
"""Longer than a gateway keeps an idle connection (Envoy: an hour), so that it closes it first.

Were the server first, a request that is sent at that moment would be lost; an arm with a thousandth
of the traffic is idle between any two requests.
"""


def prepare(settings: Settings) -> DrainingServer:
    """Open the model and make the server around it; BadModel when it cannot be served."""
    model = served.open_model(settings)
    telemetry = Telemetry(settings, HANDLERS)
    telemetry.serving(
        model=settings.served_model_name,
        runtime=settings.runtime.value,
        kind="Reranker" if model.reranker else "Embedding",
        digest=model.identity.content,
        weights=model.identity.weights,
    )
    drain = Drain(settings.drain_seconds)
    app = application.build(Service(settings, model, telemetry, drain))
    # Access logs are the gateway's; requests hold users' texts, which belong in no log.
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        http="httptools",
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
        timeout_keep_alive=IDLE_SECONDS,
    )
    return DrainingServer(config, drain)
