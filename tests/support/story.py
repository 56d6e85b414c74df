"""A small real job on a real cluster: its inputs, its spec, and what can be seen of it."""

import functools
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
import numpy as np
from devcluster import Cluster, addresses
from kubernetes import client
from operators import Operator

ROOT = Path(__file__).resolve().parents[2]
HOST = str(addresses.HOST)
"""This machine as pods and nodes see it."""
GROUP = ("kubedistill.io", "v1alpha1")
JOBS = "distillationjobs"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line on the terminal for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP to the pods; yield its base URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer((HOST, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running(cluster: Cluster, namespace: str, inputs: Path) -> Iterator[str]:
    """Run the operator for a namespace, with the trainer's image; yield the inputs' base URL.

    inputs: the folder that is served to the jobs' pods; the operator's log lies in it, too.
    """
    operator = Operator(
        cluster.kubeconfig,
        namespace,
        inputs / "operator.log",
        image=images.image(cluster, "trainer"),
        host=HOST,
    )
    with served(inputs) as base, operator:
        yield base


def write_teacher(folder: Path, name: str = "teacher", *, pickled: bool = False) -> None:
    """Write `name`.tar.gz: the tiny teacher, with its weights as safetensors or as a pickle."""
    import tiny_models
    import torch

    made = folder / name
    teacher = tiny_models.teacher()
    teacher.save_pretrained(str(made))
    if pickled:
        torch.save(teacher[0].auto_model.state_dict(), made / "pytorch_model.bin")
        for file in made.rglob("*.safetensors"):
            file.unlink()
    pack(folder, name)


def pack(folder: Path, name: str) -> None:
    """Write `name`.tar.gz of the folder `name` beside it."""
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(folder / name, arcname=name)


def write_corpus(file: Path, records: int, *, distinct: bool = True) -> None:
    """Write JSON lines of random sentences; not distinct: the same record again and again."""
    import tiny_models

    generator = np.random.default_rng(7)
    rows = []
    for number in range(records):
        topic = number % tiny_models.TOPICS
        query = tiny_models._sentence(generator, topic, 4)
        rows.append({"query": query, "document": tiny_models._sentence(generator, topic, 12)})
    if not distinct:
        rows = rows[:1] * records
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def spec(base: str, target: str, *, steps: int, cpu: str = "50m") -> dict[str, Any]:
    """Return the spec of a job that takes seconds: tiny teacher, two layers, narrow student.

    target: registry and repository. cpu: what each pod asks for.
    """
    return {
        "component": "Embedding",
        "teacher": {"model": {"uri": f"{base}/teacher.tar.gz"}, "batchSize": 8},
        "student": {"fromTeacher": {"keepLayers": [0, 3]}, "embeddingDimension": 16},
        "data": {"source": {"uri": f"{base}/corpus.jsonl"}, "hardNegatives": {"perQuery": 2}},
        "recipe": {"embedding": {"contrastive": {}, "mse": {"weight": 0.5}}},
        "training": {
            "maxSteps": steps,
            "batchSize": 8,
            "checkpointSteps": 25,
            "validationSteps": 500,
            "optimizer": {"learningRate": 0.001},
        },
        "evaluation": {
            "onMissedGate": "Publish",
            "latencyRequests": 10,
            "bootstrapSamples": 100,
        },
        "publish": [{"oci": {"repository": target, "plainHttp": True}}],
        "workspace": {"size": "200Mi", "labelCache": {"size": "100Mi"}},
        "podTemplate": {
            "threads": 1,
            "resources": {
                "requests": {"cpu": cpu, "memory": "256Mi"},
                "limits": {"memory": "2Gi"},
            },
        },
        "retries": 6,
    }


@dataclass
class Story:
    """One DistillationJob in a namespace, as an onlooker sees it."""

    api: client.ApiClient
    namespace: str
    name: str
    custom: client.CustomObjectsApi = field(init=False)
    core: client.CoreV1Api = field(init=False)
    batch: client.BatchV1Api = field(init=False)

    def __post_init__(self) -> None:
        self.custom = client.CustomObjectsApi(self.api)
        self.core = client.CoreV1Api(self.api)
        self.batch = client.BatchV1Api(self.api)

    def begin(self, spec: dict[str, Any]) -> None:
        """Create the job."""
        body = {
            "apiVersion": "/".join(GROUP),
            "kind": "DistillationJob",
            "metadata": {"name": self.name},
            "spec": spec,
        }
        self.custom.create_namespaced_custom_object(*GROUP, self.namespace, JOBS, body)

    def change(self, spec: dict[str, Any]) -> None:
        """Change fields of the spec."""
        self.custom.patch_namespaced_custom_object(
            *GROUP, self.namespace, JOBS, self.name, {"spec": spec}
        )

    def status(self) -> dict[str, Any]:
        """Return the status."""
        found = self.custom.get_namespaced_custom_object(*GROUP, self.namespace, JOBS, self.name)
        status: dict[str, Any] = found.get("status") or {}
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        """Return a condition; empty before it is set."""
        found = self.status().get("conditions") or []
        return next((dict(c) for c in found if c["type"] == kind), {})

    def finished(self) -> bool:
        """Tell whether the job has ended, well or badly."""
        return self.condition("Succeeded").get("status") in {"True", "False"}

    def stage(self, name: str) -> dict[str, Any]:
        """Return the status of a stage; empty before it is listed."""
        found = self.status().get("stages") or []
        return next((dict(s) for s in found if s["name"] == name), {})

    def progress(self, name: str) -> int:
        """Return the percentage of a stage that runs, 0 without."""
        return int((self.stage(name).get("progress") or {}).get("percent", 0))

    def jobs(self, stage: str | None = None) -> list[client.V1Job]:
        """Return the batch Jobs of this job, or of one of its stages."""
        found = self.batch.list_namespaced_job(self.namespace, label_selector=self._labels(stage))
        return list(found.items)

    def pods(self, stage: str | None = None) -> list[client.V1Pod]:
        """Return the pods of this job, or of one of its stages."""
        found = self.core.list_namespaced_pod(self.namespace, label_selector=self._labels(stage))
        return list(found.items)

    def claims(self) -> list[client.V1PersistentVolumeClaim]:
        """Return the claims of this job."""
        found = self.core.list_namespaced_persistent_volume_claim(
            self.namespace, label_selector=self._labels(None)
        )
        return list(found.items)

    def gone(self) -> bool:
        """Tell whether the job and everything that was its own is deleted."""
        found = self.custom.list_namespaced_custom_object(*GROUP, self.namespace, JOBS)
        there = any(item["metadata"]["name"] == self.name for item in found["items"])
        return not (there or self.jobs() or self.pods() or self.claims())

    def running(self, stage: str) -> list[client.V1Pod]:
        """Return the pods of a stage whose container runs and that are not being removed."""
        return [
            pod
            for pod in self.pods(stage)
            if pod.metadata.deletion_timestamp is None
            and any(s.state.running for s in pod.status.container_statuses or [])
        ]

    def complete(self, stage: str) -> bool:
        """Tell whether the stage's newest Job has succeeded, whatever the operator knows."""
        return any(job.status.succeeded for job in self.jobs(stage))

    def _labels(self, stage: str | None) -> str:
        own = f"kubedistill.io/job={self.name}"
        return own if stage is None else f"{own},kubedistill.io/stage={stage}"

    def describe(self) -> str:
        """Return what an onlooker needs to understand a failure."""
        status = self.status()
        stages = [
            {key: stage.get(key) for key in ("name", "state", "attempt", "failures", "message")}
            for stage in status.get("stages") or []
        ]
        pods = [(pod.metadata.name, pod.status.phase) for pod in self.pods()]
        return json.dumps({"conditions": status.get("conditions"), "stages": stages, "pods": pods})
