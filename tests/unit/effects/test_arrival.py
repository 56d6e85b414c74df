"""What is installed later is watched without a restart of the process."""

import asyncio
import functools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from distill_operator import settings
from distill_operator.effects import installed
from distill_operator.effects.kinds import (
    GATEWAY_SELECTORS,
    LEASE,
    ROLLOUT_SELECTORS,
    SELECTORS,
    Kind,
)
from distill_operator.handlers import app


class ApiServer:
    """Serves empty lists, watches that tell nothing, and one Lease; kinds come when they come."""

    def __init__(self) -> None:
        self.served: dict[str, Kind] = {}
        self.watched: list[str] = []
        self.leases: dict[str, Any] = {}
        self.holders: list[str] = []
        """Of the Lease, each time that it changed hands."""

    def serve(self, *kinds: Kind) -> None:
        self.served |= {kind.path("ns"): kind for kind in kinds}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "36"})
        if request.path.startswith(LEASE.path("ns")):
            return await self._lease(request)
        if request.path in self.served:
            return (
                await self._watch(request)
                if "watch" in request.query
                else _listed(self.served[request.path])
            )
        return self._discovery(request)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched.append(self.served[request.path].plural)
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        await asyncio.sleep(60)
        return stream

    async def _lease(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return _json(self.leases) if self.leases else _json({"code": 404}, 404)
        body = await request.json()
        holder = body["spec"]["holderIdentity"]
        if holder != (self.leases.get("spec") or {}).get("holderIdentity"):
            self.holders.append(holder)
        version = int((self.leases.get("metadata") or {}).get("resourceVersion", 0)) + 1
        self.leases = body | {"metadata": body["metadata"] | {"resourceVersion": str(version)}}
        return _json(self.leases)

    def _discovery(self, request: web.Request) -> web.StreamResponse:
        """Answer kopf, which looks up each resource that it is asked to watch."""
        if request.path == "/api":
            return _json({"versions": ["v1"]})
        if request.path == "/apis":
            return _json({"groups": self._groups()})
        kinds = [k for k in self.served.values() if request.path == _group(k)]
        if not kinds:
            return _json({"kind": "Status", "code": 404, "message": "not found"}, 404)
        return _json({"kind": "APIResourceList", "resources": [_resource(k) for k in kinds]})

    def _groups(self) -> list[dict[str, Any]]:
        found = {k.group: {"version": k.version} for k in self.served.values() if k.group}
        return [
            {"name": group, "versions": [version], "preferredVersion": version}
            for group, version in found.items()
        ]


def _resource(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "kind": kind.kind,
        "namespaced": True,
        "verbs": ["list", "watch"],
    }


def _group(kind: Kind) -> str:
    return kind.path().removesuffix(f"/{kind.plural}")


def _listed(kind: Kind) -> web.Response:
    head = {"apiVersion": kind.api_version, "kind": f"{kind.kind}List"}
    return _json(head | {"items": [], "metadata": {"resourceVersion": "1"}})


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


async def _start(found: ApiServer) -> tuple[web.AppRunner, int]:
    place = web.Application()
    place.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(place, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, int(runner.addresses[0][1])


async def _stop(runner: web.AppRunner) -> None:
    await runner.cleanup()
    streams = asyncio.all_tasks() - {asyncio.current_task()}
    for task in streams:
        task.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Yield a server with a loop of its own: where kopf stops, it cancels all tasks around it."""
    found, loop = ApiServer(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="API server")
    thread.start()
    runner, port = asyncio.run_coroutine_threadsafe(_start(found), loop).result(10)
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": "none"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield found
    asyncio.run_coroutine_threadsafe(_stop(runner), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def eventually(holds: Callable[[], bool], running: asyncio.Task[None], what: str) -> None:
    for _ in range(600):
        if holds():
            return
        if running.done():
            running.result()
            raise AssertionError(f"the operator has ended before {what}")
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 30 s: {what}")


async def test_the_gateway_api_that_comes_later_is_watched_by_the_same_process(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "grown", functools.partial(installed.grown, every=0.1))
    # Without namespaces kopf takes what it talks to for no Kubernetes.
    server.serve(Kind("v1", "Namespace", "namespaces"), *SELECTORS, *ROLLOUT_SELECTORS)
    given = settings.read(
        {
            "POD_NAME": "me",
            "POD_NAMESPACE": "ns",
            "KUBEDISTILL_TRAINER_IMAGE": "trainer",
            "KUBEDISTILL_WATCH_NAMESPACES": "ns",
            "KUBEDISTILL_PROGRESS_URL": "off",
            "KUBEDISTILL_LISTEN_METRICS": "0",
            "KUBEDISTILL_LISTEN_PROGRESS": "0",
        }
    )
    running = asyncio.create_task(app.run(given))
    try:
        await _goes_on(server, running)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 20)
    assert server.holders[-1] == "", "the Lease is given up at the end"


async def _goes_on(server: ApiServer, running: asyncio.Task[None]) -> None:
    await eventually(lambda: server.holders == ["me"], running, "it leads")
    await eventually(lambda: "deployments" in server.watched, running, "it watches arms")
    assert "httproutes" not in server.watched

    server.serve(*GATEWAY_SELECTORS)
    await eventually(lambda: "httproutes" in server.watched, running, "it watches routes")
    await eventually(lambda: "gateways" in server.watched, running, "it watches gateways")
    # It gives the Lease up and takes it anew: in between nobody writes, then it goes on.
    await eventually(lambda: server.holders == ["me", "", "me"], running, "it leads again")
