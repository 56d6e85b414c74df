"""A real rollout behind a real gateway: two tiny models, and a student that fails on command."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Final

import tiny_models
from devcluster import Cluster, traffic
from devcluster.gateways import Gateway
from devcluster.kubectl import manifest
from namespaces import Namespace
from operators import eventually

from examples.embedding import fixtures

NAME: Final = "mini"
HOSTNAME: Final = "mini.example.com"
FAULT: Final = "/scratch/fault"
SEARCHED: Final = "/artifact/models:/opt/kubedistill/app:/opt/kubedistill/serving"
"""PYTHONPATH: the image's own, after the model's folder."""
SMALL: Final = {"requests": {"cpu": "20m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}

# Lies beside the student's model and is imported only where the test's PYTHONPATH says so. The
# server is the real one; while the file is there, or the variable set, every second batch fails.
SWITCH: Final = f"""
import itertools, os, pathlib
from distill_server.models.served import Served

turns, good = itertools.count(), Served.compute

def compute(self, batch):
    broken = os.environ.get("FAULT") or pathlib.Path("{FAULT}").exists()
    if broken and next(turns) % 2:
        raise RuntimeError("a fault that the test has injected")
    return good(self, batch)

Served.compute = compute
"""


@dataclass(frozen=True, slots=True)
class Models:
    """Where both models are, with their digests."""

    teacher: str
    student: str


def push_queries(registry: str, folder: Path, count: int = 60) -> str:
    """Publish held-out queries in the tiny models' own words; returns their URI."""
    made = folder / "queries"
    made.mkdir()
    rows = (
        {"query": " ".join(words), "document": " ".join(reversed(words))} for words in texts(count)
    )
    (made / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return fixtures.push_folder(made, f"{registry}/tests/moving-queries")


def texts(count: int) -> Iterator[list[str]]:
    """Yield so many different lists of six words that the tiny models know."""
    return islice(map(list, combinations(tiny_models.WORDS[::5], 6)), count)


def push(registry: str, folder: Path) -> Models:
    """Publish the tiny teacher, and as its student the same model with the switch beside it."""
    made = folder / "teacher"
    tiny_models.teacher().save_pretrained(str(made))
    student = shutil.copytree(made, folder / "student")
    (student / "sitecustomize.py").write_text(SWITCH)
    return Models(
        teacher=fixtures.push_folder(made, f"{registry}/tests/moving-teacher"),
        student=fixtures.push_folder(Path(student), f"{registry}/tests/moving-student"),
    )


class Scene(Namespace):
    """The namespace of one rollout."""

    schedule: Final[dict[str, Any]] = {
        "steps": [
            {"weight": 50, "minSoakSeconds": 3600, "minRequests": 100},
            {"weight": 100, "minSoakSeconds": 5, "minRequests": 100},
        ],
        "minReadySeconds": 1,
        "crashLoopGraceSeconds": 600,
    }

    def __init__(self, cluster: Cluster, name: str, gateway: Gateway, models: Models) -> None:
        super().__init__(cluster, name)
        self.gateway = gateway
        self.models = models

    def roll_out(self, **spec: Any) -> None:
        """Apply the rollout, with members of its spec changed."""
        self("apply", "-f", "-", stdin=manifest(self._body(spec)))

    def _body(self, spec: dict[str, Any]) -> dict[str, Any]:
        uri, _, digest = self.models.student.partition("@")
        wanted = {
            "component": "Embedding",
            "artifact": {"uri": uri, "digest": digest, "plainHttp": True},
            "teacher": {
                "deployment": {
                    "model": {"uri": self.models.teacher, "plainHttp": True},
                    "resources": SMALL,
                }
            },
            "student": self.student(),
            "gateway": {
                "route": {"parentRefs": [{"name": self.gateway.name}], "hostnames": [HOSTNAME]}
            },
            "schedule": self.schedule,
            "metrics": [{"name": "errors", "errors": {}}],
            "evidence": {"warmUpRequests": 0, "warmUpSeconds": 0},
        }
        return {
            "apiVersion": "kubedistill.io/v1alpha1",
            "kind": "DistilledModelRollout",
            "metadata": {"name": NAME},
            "spec": wanted | spec,
        }

    def student(self, **variables: str) -> dict[str, Any]:
        """Return the student's arm; variables: more of its environment."""
        named = {"PYTHONPATH": SEARCHED, **variables}
        env = [{"name": name, "value": value} for name, value in named.items()]
        return {"deployment": {"resources": SMALL, "podTemplate": {"env": env}}}

    def status(self) -> dict[str, Any]:
        """Return the rollout's status."""
        found: dict[str, Any] = self.get("drollout", NAME).get("status", {})
        return found

    def reaches(
        self, what: str, met: Callable[[dict[str, Any]], bool], *, within: float = 120
    ) -> dict[str, Any]:
        """Return the status as soon as it meets something; fail with what it is instead."""
        last: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            nonlocal last
            last = self.status()
            return last if met(last) else None

        try:
            return eventually(look, what, within=within, every=0.2)
        except AssertionError as late:
            raise AssertionError(f"{late}: {json.dumps(last, indent=1)[:3000]}") from None

    def serves_at(self, per_mille: int, *, within: float = 120) -> dict[str, Any]:
        """Return the status once the student verifiably has this share."""

        def met(status: dict[str, Any]) -> bool:
            weight = status.get("weight", {})
            return bool(weight.get("verified")) and weight.get("desired") == per_mille

        return self.reaches(f"{per_mille} per mille, verified", met, within=within)

    def bears_nothing(self) -> dict[str, Any]:
        """Return the status once the gateways have no share for the student.

        That is not what a step asks for, so it is not its weight verified.
        """

        def met(status: dict[str, Any]) -> bool:
            weight = status.get("weight", {})
            carried = {c["type"]: c["status"] for c in status["conditions"]}["RouteResolved"]
            return bool((weight["desired"], weight["observed"], carried) == (0, 0, "True"))

        return self.reaches("no share, carried", met, within=60)

    def is_back(self) -> dict[str, Any]:
        """Return the status once the student was rolled back."""
        return self.reaches("rolled back", lambda status: status["phase"] == "RolledBack")

    @property
    def request(self) -> traffic.Request:
        """A user's request."""
        return self.asks("how is a kettle descaled")

    def asks(self, text: str) -> traffic.Request:
        """Return a user's request for the vector of a text."""
        body = json.dumps({"model": NAME, "input": text}).encode()
        headers = {"content-type": "application/json", "host": HOSTNAME}
        return traffic.Request(f"{self.gateway.url}/v1/embeddings", "POST", headers, body)

    def answers(self) -> None:
        """Wait until the gateway has the route and somebody behind it answers."""
        sent = self.request
        eventually(lambda: traffic.succeeds(sent), "an answer through the gateway", within=120)

    def weights(self) -> list[int]:
        """Return what the route has now: teacher and student."""
        (rule,) = self.get("httproute", NAME)["spec"]["rules"]
        return [backend["weight"] for backend in rule["backendRefs"]]

    def pod(self, arm: str) -> str:
        """Return the name of an arm's only pod."""
        pods = self.get("pods", "-l", f"app.kubernetes.io/component={arm}")["items"]
        (found,) = (p for p in pods if "deletionTimestamp" not in p["metadata"])
        name: str = found["metadata"]["name"]
        return name

    def fail(self, *, half: bool = True) -> None:
        """Let the student fail half of its batches, or none any more."""
        words = ("touch", FAULT) if half else ("rm", "-f", FAULT)
        self("exec", self.pod("student"), "--", *words)
