"""The second half of `make demo`: the student is rolled out, then a spoilt one is rolled back."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from devcluster import Cluster, gateways, traffic
from devcluster.gateways import Gateway
from devcluster.kubectl import manifest
from devcluster.traffic import Outcome
from distill_trainer.publishing.pull import pull

from examples.embedding import corpus, fixtures, install
from examples.embedding.install import NAMESPACE, ROOT, step
from examples.rollout import damage, follow, picture
from examples.rollout.follow import Sample

HERE = Path(__file__).resolve().parent
OUTPUT = ROOT / "build" / "demo" / "rollout"
START_SECONDS, LIMIT_SECONDS = 180.0, 600.0
PER_SECOND = 30.0
QUESTIONS = 200
type Manifest = dict[str, Any]


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
    ends = [roll_out(cluster, gateway, good)]
    print("  The rollout is deleted; its student goes on serving alone.")
    cluster.kubectl("-n", NAMESPACE, "delete", "drollout", "minilm", "--wait")
    ends.append(roll_out(cluster, gateway, bad))
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


def roll_out(cluster: Cluster, gateway: Gateway, rollout: Manifest) -> Manifest:
    """Roll out under traffic and tell how it went; returns the status it came to rest with."""
    name = rollout["metadata"]["name"]
    print(f"== rollout {name}", flush=True)
    clear(cluster, name)
    cluster.kubectl("apply", "-f", "-", stdin=manifest(rollout))
    requests = questions(rollout, gateway.url)
    wait_for_teacher(requests[0])
    with traffic.flowing(requests, per_second=PER_SECOND) as flow:
        samples = follow.follow(install.objects(cluster), NAMESPACE, name, seconds=LIMIT_SECONDS)
        time.sleep(3)
    conclude(cluster, name, samples, flow.outcomes)
    return samples[-1].status


def clear(cluster: Cluster, name: str) -> None:
    """Remove an earlier run's rollout, and what was kept of it because requests might need it."""
    here = ("-n", NAMESPACE, "delete", "--ignore-not-found", "--wait")
    cluster.kubectl(*here, "drollout", name)
    kept = "httproute,service,deployment"
    cluster.kubectl(*here, kept, "-l", f"kubedistill.io/rollout={name}")


def questions(rollout: Manifest, url: str) -> list[traffic.Request]:
    """Return what users ask: first sentences of docstrings, one at a time."""
    rows, _ = corpus.held_out(corpus.of_this_python())
    asked = [row.query for row in rows if row.query is not None][:QUESTIONS]
    (hostname,) = rollout["spec"]["gateway"]["route"]["hostnames"]
    headers = {"content-type": "application/json", "host": hostname}
    name = rollout["metadata"]["name"]
    bodies = (json.dumps({"model": name, "input": query}).encode() for query in asked)
    return [traffic.Request(f"{url}/v1/embeddings", "POST", headers, body) for body in bodies]


def wait_for_teacher(request: traffic.Request) -> None:
    """Wait until the gateway has the route and the teacher behind it answers."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if traffic.succeeds(request):
            return
        time.sleep(0.5)
    raise TimeoutError(
        f"the teacher has not answered within {START_SECONDS:.0f} s: look at"
        f" `kubectl -n {NAMESPACE} get drollout,pods,httproute`"
    )


def conclude(
    cluster: Cluster, name: str, samples: Sequence[Sample], outcomes: Sequence[Outcome]
) -> None:
    """Print decisions, verdicts and what the users saw; draw the picture."""
    status = samples[-1].status
    print(cluster.kubectl("-n", NAMESPACE, "get", "drollout", name, "-o", "wide"))
    print(f"{status['phase']}: {status['message']}")
    for decision in status.get("history", []):
        print(f"  {decision['at']} {decision['weight'] / 10:5g}% {decision['message']}")
    failed = [outcome for outcome in outcomes if not outcome.good]
    print(f"  {len(outcomes)} requests through the gateway, {len(failed)} of them failed")
    drawn = picture.draw(samples, f"{name}: {status['phase']}", OUTPUT / f"{name}.svg")
    print(f"  picture: {drawn}")


if __name__ == "__main__":
    sys.exit(main())
