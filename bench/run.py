"""`make bench`: measure, print the tables that the README quotes, keep the numbers as JSON."""

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
# The bench runs what the demo runs; its own modules come first, as `rollouts` is a name of both.
sys.path += [str(ROOT), str(ROOT / "tests" / "support")]

import learning  # noqa: E402 - it needs the path
from tables import table  # noqa: E402 - as above

AT_ONCE = "half fails from the start"


def main() -> int:
    """Measure the parts that were asked for; ratios are of numbers taken in turns in this run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20, help="of each fault on the gateway")
    parser.add_argument("--requests", type=int, default=10_000, help="while weights are moved")
    parser.add_argument("--simulations", type=int, default=2000, help="rollouts of each scenario")
    learning.add_options(parser)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(PARTS)}")
    found: dict[str, Any] = {"machine": platform.machine(), "options": vars(options)}
    with tempfile.TemporaryDirectory() as scratch:
        found |= measure(options, Path(scratch))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"\nNumbers: {file.relative_to(ROOT)}")
    return 0


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run the parts; each prints its table as soon as it is known."""
    import torch

    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    for name in options.parts:
        own = scratch / name
        own.mkdir()
        found[name] = PARTS[name](options, own)
        shutil.rmtree(own)
    return found


def serving(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure throughput and latency of student and teacher."""
    import serving as measured

    found = measured.measure(learning.shared(options, scratch), options.threads)
    rows = [
        [name, *(f"{value:.1f}" for value in asdict(served).values())]
        for name, served in found.items()
    ]
    ratio = found["student"].texts_per_second / found["teacher"].texts_per_second
    print(f"\n### Serving, batches of {measured.BATCH}, {options.threads} threads\n")
    print(*table(["model", "documents per second", "P50 ms", "P95 ms", "P99 ms"], rows), sep="\n")
    print(f"\nThe student embeds {ratio:.2f} times the teacher's documents per second.")
    return {name: asdict(served) for name, served in found.items()}


def quantizing(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure what INT8 costs and gains."""
    import quantizing as measured
    import worth

    work = worth.Work(options.batch, options.embedding_steps, scratch)
    found = measured.measure(learning.tuned(options, scratch), work, options.threads)
    head = ["model", "form", "MB", "nDCG@10", "lost", "documents per second", "to the float graph"]
    print(f"\n### INT8, batches of {measured.BATCH}, {options.threads} threads\n")
    print(*table(head, measured.rows(found)), sep="\n")
    return {name: {form: asdict(one) for form, one in own.items()} for name, own in found.items()}


def compressing(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure what 4-bit weights cost a generator, and what wins it back."""
    import answers
    import compressing as measured

    taught = answers.make(scratch / "lesson", options.generator_records)
    count = options.calibration_records
    work = measured.Work(options.aware_steps, learning.ANSWERED, count, scratch)
    found = measured.measure(taught, work)
    head = ["weights", "MB", "smaller", "perplexity", "divergence", "same token"]
    head += ["likelihood won back", "divergence won back"]
    print(f"\n### SmolLM2 with smaller weights, groups of {measured.GROUP}\n")
    print(*table(head, measured.rows(found)), sep="\n")
    print(f"\n{count} answers calibrate; {work.steps} steps of {work.batch} answers are aware.")
    return {name: asdict(form) for name, form in found.items()}


def gateway(trials: int, requests: int) -> dict[str, Any]:
    """Measure how soon a bad student bears nothing, beside Flagger, and what moves cost users.

    Each row is printed when it is known, as all of them take half an hour.
    """
    import flagger
    import reaction

    print(
        f"\n### Reaction on a real gateway, {reaction.RATE:.0f} requests a second, half of them\n"
    )
    ends = ("last failed answer after s", "P99 s", "weight 0, verified, after s", "P99 s")
    print(*table(["operator", "fault", "trials", *ends, "answers that failed"], []), sep="\n")
    found: dict[str, Any] = {}

    def told(name: str, fault: str, reactions: Sequence[Any]) -> None:
        cells = [name, fault, *reaction.columns(reactions)]
        print(f"| {' | '.join(cells)} |", flush=True)
        found[f"{name}: {fault}"] = [asdict(one) for one in reactions]

    with reaction.scene() as here:
        told("kubedistill", "half fails after a good start", reaction.half_fails(here, trials))
        told("kubedistill", "its only pod dies", reaction.pods_die(here, trials))
        told("kubedistill", AT_ONCE, reaction.half_fails_at_once(here, trials))
    with reaction.scene(operated=False) as here:
        told("Flagger", AT_ONCE, flagger.measure(here, max(1, trials // 4)))
    with reaction.scene() as here:
        moved = reaction.moves(here, requests)
    print(
        f"\n{moved.changes} changes of weight: {moved.failed} of {moved.requests} requests failed."
    )
    return {**found, "moves": asdict(moved)}


def first_pod(rounds: int) -> dict[str, Any]:
    """Measure apply to first pod, beside a plain Job."""
    import first_pod as measured

    found = measured.measure(rounds)
    rows = [
        [name, f"{median(p.created for p in pods):.2f}", f"{median(p.running for p in pods):.2f}"]
        for name, pods in found.items()
    ]
    print(f"\n### Apply to first pod, median of {rounds}\n")
    print(*table(["object", "pod exists after s", "pod runs after s"], rows), sep="\n")
    return {name: [asdict(pod) for pod in pods] for name, pods in found.items()}


def rollouts(count: int) -> list[dict[str, Any]]:
    """Measure how often the statistics of rollouts decide wrongly, beside a threshold rule."""
    import rollouts as simulated

    found = simulated.measure(count)
    print(f"\n### Decisions of {count} simulated rollouts of each kind\n")
    print(simulated.table(found))
    return [asdict(row) for row in found]


PARTS: Final[dict[str, Callable[[argparse.Namespace, Path], Any]]] = {
    "embedding-loops": learning.embedding_loops,
    "generator-loops": learning.causal_loops,
    "worth-embedding": learning.worth_embedding,
    "worth-reranker": learning.worth_reranker,
    "worth-generator": learning.worth_generator,
    "worth-query-transform": learning.worth_query_transform,
    "serving": serving,
    "quantize": quantizing,
    "quantize-generator": compressing,
    "first-pod": lambda options, _: first_pod(options.rounds),
    "rollouts": lambda options, _: rollouts(options.simulations),
    "gateway": lambda options, _: gateway(options.trials, options.requests),
}

if __name__ == "__main__":
    sys.exit(main())
