"""`make demo`: distil a real teacher on a real Kubernetes on this machine, and show the result."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from devcluster import Cluster
from devcluster.kubectl import manifest
from distill_trainer.publishing.pull import pull

from examples.embedding import fixtures, follow, install
from examples.embedding.install import NAMESPACE, step
from examples.embedding.result import show

HERE = Path(__file__).resolve().parent
OUTPUT = install.ROOT / "build" / "demo"
LIMIT_SECONDS = 2400.0


def main() -> int:
    """Do the demo; 0 when the student was published and holds the bars of its job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, default=HERE / "job.yaml")
    options = parser.parse_args()
    cluster = step("cluster", lambda: Cluster.attach_or_up(addons={"registry"}))
    step("images", lambda: install.load_images(cluster))
    step("operator", lambda: install.operator(cluster))
    pushed = step("teacher and corpus", lambda: fixtures.push(cluster.registry))
    print(f"  teacher {pushed.teacher}")
    print(f"  corpus  {pushed.data}: {pushed.documents} documents, {pushed.queries} queries")
    job = describe_job(options.job, cluster.registry, pushed)
    step("apply", lambda: apply(cluster, job))
    ended = follow.follow(
        install.objects(cluster),
        NAMESPACE,
        job["metadata"]["name"],
        seconds=LIMIT_SECONDS,
    )
    return conclude(cluster, ended)


def describe_job(path: Path, registry: str, pushed: fixtures.Fixtures) -> dict[str, Any]:
    """Read the example's job and give it the addresses of this cluster's registry."""
    job: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    job["metadata"]["namespace"] = NAMESPACE
    spec = job["spec"]
    spec["teacher"]["model"] |= {"uri": pushed.teacher, "plainHttp": True}
    spec["data"]["source"] |= {"uri": pushed.data, "plainHttp": True}
    for target in spec["publish"]:
        name = target["oci"]["repository"].partition("/")[2]
        target["oci"] |= {"repository": f"{registry}/{name}", "plainHttp": True}
    return job


def apply(cluster: Cluster, job: dict[str, Any]) -> None:
    """Create the job anew; what an earlier one of that name published and labelled stays."""
    name = job["metadata"]["name"]
    cluster.kubectl("-n", NAMESPACE, "delete", "djob", name, "--ignore-not-found", "--wait")
    cluster.kubectl("apply", "-f", "-", stdin=manifest(job))


def conclude(cluster: Cluster, job: dict[str, Any]) -> int:
    """Print what came of it, pull the artifact and unpack its report."""
    name = job["metadata"]["name"]
    print(cluster.kubectl("-n", NAMESPACE, "get", "djob", name, "-o", "wide"))
    succeeded = follow.condition(job, "Succeeded")
    if succeeded.get("status") != "True":
        print(f"The job failed ({succeeded.get('reason')}): {succeeded.get('message')}")
        return 1
    show(job["status"])
    shutil.rmtree(OUTPUT, ignore_errors=True)
    pull(job["status"]["artifact"]["uri"], OUTPUT, plain_http=True)
    print(f"\nReport: {OUTPUT / 'models' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
