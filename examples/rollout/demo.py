"""The second half of `make demo`: the student is rolled out, then a spoilt one is rolled back."""

import json
import sys
import tempfile
from pathlib import Path

import yaml
from devcluster import Cluster, gateways, traffic
from distill_trainer.publishing.pull import pull

from examples.embedding import corpus, fixtures, install
from examples.embedding.install import NAMESPACE, step
from examples.rollout import damage, running
from examples.rollout.running import Load, Manifest

HERE = Path(__file__).resolve().parent
PER_SECOND = 30.0
QUESTIONS = 200


def main() -> int:
    """Roll out both students; 0 when one was promoted and the other rolled back."""
    cluster = step("cluster", lambda: Cluster.attach_or_up(addons={"registry", "gateway"}))
    step("images", lambda: install.load_images(cluster))
    step("operator", lambda: install.operator(cluster))
    pushed = step("queries", lambda: fixtures.push(cluster.registry))
    gateway = step("gateway", lambda: gateways.make(cluster, NAMESPACE, "public"))
    spoilt = step("a spoilt student", lambda: push_spoilt(cluster))
    good = describe("minilm", pushed)
    bad = describe("minilm-spoilt", pushed)
    digest = spoilt.partition("@")[2]
    bad["spec"]["artifact"] = {"uri": spoilt, "digest": digest, "plainHttp": True}
    bad["spec"]["teacher"]["deployment"]["model"] = {"uri": pushed.teacher, "plainHttp": True}
    bad["spec"]["gateway"]["route"]["hostnames"] = ["spoilt.example.com"]
    ends = [running.roll_out(cluster, good, load(good, gateway.url))]
    print("  The rollout is deleted; its student goes on serving alone.")
    cluster.kubectl("-n", NAMESPACE, "delete", "drollout", "minilm", "--wait")
    ends.append(running.roll_out(cluster, bad, load(bad, gateway.url)))
    phases = [end["phase"] for end in ends]
    if phases != ["Promoted", "RolledBack"]:
        print(f"Expected Promoted and RolledBack, found {' and '.join(phases)}")
        return 1
    reasons = {decision["reason"] for decision in ends[1]["history"]}
    if "MetricRegressed" not in reasons:
        print("The spoilt student was rolled back, but not for what was measured of it")
        return 1
    return 0


def push_spoilt(cluster: Cluster) -> str:
    """Publish the job's student with noise in its weights; returns the URI with its digest."""
    job = install.objects(cluster).get_namespaced_custom_object(
        "kubedistill.io", "v1alpha1", NAMESPACE, "distillationjobs", "minilm-small"
    )
    with tempfile.TemporaryDirectory() as scratch:
        good = Path(scratch, "good")
        pull(job["status"]["artifact"]["uri"], good, plain_http=True)
        spoilt = damage.spoil(good / "models", Path(scratch, "spoilt"))
        return fixtures.push_folder(spoilt, f"{cluster.registry}/models/minilm-small-spoilt")


def describe(name: str, pushed: fixtures.Fixtures) -> Manifest:
    """Read the example's rollout and give it a name and the addresses of this cluster."""
    rollout: Manifest = yaml.safe_load((HERE / "demo.yaml").read_text(encoding="utf-8"))
    rollout["metadata"] |= {"name": name, "namespace": NAMESPACE}
    rollout["spec"]["prober"]["queries"] |= {"uri": pushed.probes, "plainHttp": True}
    return rollout


def load(rollout: Manifest, url: str) -> Load:
    """Return what users of a rollout send."""
    return Load(questions(rollout, url), PER_SECOND)


def questions(rollout: Manifest, url: str) -> list[traffic.Request]:
    """Return what users ask: first sentences of docstrings, one at a time."""
    rows, _ = corpus.held_out(corpus.of_this_python())
    asked = [row.query for row in rows if row.query is not None][:QUESTIONS]
    (hostname,) = rollout["spec"]["gateway"]["route"]["hostnames"]
    headers = {"content-type": "application/json", "host": hostname}
    name = rollout["metadata"]["name"]
    bodies = (json.dumps({"model": name, "input": query}).encode() for query in asked)
    return [traffic.Request(f"{url}/v1/embeddings", "POST", headers, body) for body in bodies]


if __name__ == "__main__":
    sys.exit(main())
