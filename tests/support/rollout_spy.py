"""An API server that records what a converger asks of it."""

from collections.abc import Callable
from typing import Any, Final

import rollout_bodies as bodies
from distill_operator import errors
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.kinds import Kind
from distill_operator.effects.ours import key
from distill_operator.effects.rollout import observe
from distill_operator.effects.rollout.converge import RolloutConverger, Subject
from distill_operator.plan.model import Manifest
from rollouts import OWNER

NS: Final = f"/namespaces/{OWNER.namespace}/"
SELF: Final = f"distilledmodelrollouts/{OWNER.name}"


class Spy(Cluster):
    """Records each call and answers as the API server would; `trouble` may raise instead."""

    def __init__(self, trouble: Callable[[Request], None] = lambda _: None) -> None:
        self.calls: list[str] = []
        self.requests: list[Request] = []
        self.there: dict[str, Manifest] = {}
        self._trouble = trouble

    def _fence(self) -> None:
        """Allow every write."""

    async def _call(self, request: Request) -> Manifest:
        path = request.path.rpartition(NS)[2]
        self.calls.append(f"{request.verb} {path}")
        self.requests.append(request)
        self._trouble(request)
        if request.verb == "GET":
            if path not in self.there:
                raise errors.Missing(f"{path}: 404")
            return self.there[path]
        body = request.body if isinstance(request.body, dict) else {}
        made = {"uid": f"uid-of-{path}", "name": OWNER.name}
        made |= {"namespace": OWNER.namespace} | body.get("metadata", {})
        return body | {"metadata": made | {"resourceVersion": str(100 + len(self.calls))}}


def a_child(kind: str = "deployment") -> Manifest:
    """Return a child of the student as it is applied."""
    made = bodies.a_deployment("student") if kind == "deployment" else bodies.a_service("student")
    for name in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        made["metadata"].pop(name, None)
    made.pop("status", None)
    return made


def seen(*children: Manifest, **meta: Any) -> Subject:
    body = bodies.a_rollout()
    body["metadata"] |= meta
    return Subject(body, observe.rollout(body), {key(child): child for child in children})


def converger(
    spy: Spy, remember: Callable[[Kind, Manifest], None] = lambda *_: None
) -> RolloutConverger:
    return RolloutConverger(spy, remember, reporter="test")
