"""What vLLM's servers count of themselves, and the memory that they use."""

import json
from collections.abc import Mapping

from devcluster import Cluster
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

ARMS = ("teacher", "student")
MEANS = {
    "first token, mean ms": "vllm:time_to_first_token_seconds",
    "each further token, mean ms": "vllm:request_time_per_output_token_seconds",
}


def show(cluster: Cluster, namespace: str, rollout: str) -> None:
    """Print a table of both arms' servers: latencies since they were started, memory now."""
    table = Table("", *ARMS, title="What each server counts of itself")
    found = [_of(cluster, namespace, rollout, arm) for arm in ARMS]
    for row in found[0]:
        table.add_row(row, *(one[row] for one in found))
    Console(width=100).print(table)


def _of(cluster: Cluster, namespace: str, rollout: str, arm: str) -> dict[str, str]:
    chosen = f"kubedistill.io/rollout={rollout},app.kubernetes.io/component={arm}"
    here = ("-n", namespace)
    pods = json.loads(cluster.kubectl(*here, "get", "pods", "-l", chosen, "-o", "json"))
    name = next(
        pod["metadata"]["name"]
        for pod in pods["items"]
        if "deletionTimestamp" not in pod["metadata"]
    )
    path = f"/api/v1/namespaces/{namespace}/pods/{name}:8000/proxy/metrics"
    counted = counts(cluster.kubectl("get", "--raw", path))
    # Every container has this one, whatever its node's version of cgroups.
    every = ("sh", "-c", "cat /proc/[0-9]*/status")
    memory = cluster.kubectl(*here, "exec", name, "--", *every)
    return counted | {"memory, MiB": f"{resident(memory) / 2**20:.0f}"}


def counts(page: str) -> dict[str, str]:
    """Read answers and mean latencies from a page of metrics."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.endswith(("_sum", "_count", "_total")):
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    answers = sums.get("vllm:request_success_total", 0.0)
    return {"answers": f"{answers:.0f}", **{row: _mean(sums, name) for row, name in MEANS.items()}}


def _mean(sums: Mapping[str, float], name: str) -> str:
    count = sums.get(f"{name}_count", 0.0)
    return f"{1000 * sums[f'{name}_sum'] / count:.0f}" if count else "-"


def resident(statuses: str) -> int:
    """Sum the bytes of /proc/*/status that are no pages of files."""
    lines = (line.split() for line in statuses.splitlines())
    return sum(1024 * int(words[1]) for words in lines if words and words[0] == "RssAnon:")
