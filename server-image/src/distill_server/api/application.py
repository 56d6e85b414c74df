"""Every path of the server in one table."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from distill_api.token_ids import TOKEN_IDS_PATH, TOKENIZE_PATH
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from distill_server.api import binary_tensors, embeddings, health, open_inference, reranking, tokens
from distill_server.api.endpoint import endpoint, refusal, told
from distill_server.api.observing import Observed
from distill_server.errors import BadRequest, Refused
from distill_server.service import Service


def build(service: Service) -> Observed:
    """Return the whole application; its queue runs from startup to shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(service.queue.run())
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    app = Starlette(
        routes=[*_computing(), *_pages()],
        exception_handlers={Refused: _refused, HTTPException: _not_routed, Exception: _crashed},
        lifespan=lifespan,
    )
    app.state.service = service
    return Observed(app, service.telemetry, service.drain)


def _computing() -> list[Route]:
    embed = endpoint(embeddings.Embeddings, embeddings.embeddings)
    rerank = endpoint(reranking.Rerank, reranking.rerank)
    infer = endpoint(open_inference.Infer, open_inference.infer, binary_tensors.plain)
    return [
        Route("/v1/embeddings", embed, methods=["POST"]),
        Route("/rerank", rerank, methods=["POST"]),
        Route("/v1/rerank", rerank, methods=["POST"]),
        Route("/v2/rerank", rerank, methods=["POST"]),
        Route("/v2/models/{model}/infer", infer, methods=["POST"]),
    ]


def _pages() -> list[Route]:
    vote = endpoint(health.Feedback, health.feedback)
    tokenize = endpoint(tokens.Tokenize, tokens.tokenize)
    return [
        Route("/v1/models", health.models),
        Route(TOKEN_IDS_PATH, tokens.trained),
        Route(TOKENIZE_PATH, tokenize, methods=["POST"]),
        Route("/v1/feedback", vote, methods=["POST"]),
        Route("/v2", open_inference.server),
        Route("/v2/health/live", health.live),
        Route("/v2/health/ready", health.ready),
        Route("/v2/models/{model}", open_inference.model),
        Route("/v2/models/{model}/ready", health.model_ready),
        Route("/health", health.ready),
        Route("/healthz", health.live),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    return refusal(request, error)


async def _crashed(request: Request, error: Exception) -> Response:
    return refusal(request, error)


async def _not_routed(request: Request, error: Exception) -> Response:
    """Answer a wrong path or method with the same shape of body."""
    assert isinstance(error, HTTPException)
    sentence = f"{request.method} {request.url.path}: {error.detail}"
    body = told(request.url.path, BadRequest(sentence))
    return JSONResponse(body, error.status_code, error.headers)
