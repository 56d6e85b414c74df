"""`make bench`: measure, print the tables that the README quotes, keep the numbers as JSON."""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
# The bench runs what the demo runs.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

PARTS = ("training", "serving", "first-pod", "rollouts", "gateway")


def main() -> int:
    """Measure the parts that were asked for; ratios are of numbers taken in turns in this run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32, help="records, each with two texts")
    parser.add_argument("--steps", type=int, default=12, help="of each loop in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20, help="of each fault on the gateway")
    parser.add_argument("--requests", type=int, default=10_000, help="while weights are moved")
    parser.add_argument("--simulations", type=int, default=2000, help="rollouts of each scenario")
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
    """Run the parts and print each one's table as soon as it is known."""
    found: dict[str, Any] = {}
    if {"training", "serving"} & set(options.parts):
        import lesson

        taught = lesson.make(scratch, options.records)
        if "training" in options.parts:
            found["training"] = training(taught, options, scratch)
        if "serving" in options.parts:
            found["serving"] = serving(taught, options.threads)
    if "first-pod" in options.parts:
        found["firstPod"] = first_pod(options.rounds)
    if "rollouts" in options.parts:
        found["rollouts"] = rollouts(options.simulations)
    if "gateway" in options.parts:
        found["gateway"] = gateway(options.trials, options.requests)
    return found


def training(taught: Any, options: argparse.Namespace, scratch: Path) -> dict[str, list[float]]:
    """Measure steps per second of both loops, round by round in turns."""
    import loops
    import torch

    torch.set_num_threads(options.threads)
    paces: dict[str, list[float]] = {"guide": [], "ours": []}
    for number in range(options.rounds):
        for name, teach in (("guide", loops.guide), ("ours", loops.ours)):
            seconds = teach(taught, options.batch, options.steps, scratch / f"{name}-{number}")
            paces[name].append(1 / seconds)
    speedups = [ours / guide for ours, guide in zip(paces["ours"], paces["guide"], strict=True)]
    # Our loop has paid for its labels before; after so many epochs it has earned them back.
    steps = taught.texts / (2 * options.batch)
    saved = steps * (1 / median(paces["guide"]) - 1 / median(paces["ours"]))
    rows = [
        [name, f"{median(pace):.2f}", f"{min(pace):.2f} to {max(pace):.2f}"]
        for name, pace in (("the guide's Trainer", paces["guide"]), ("our loop", paces["ours"]))
    ]
    print(f"\n### Training, {options.batch} records a step, {options.threads} threads\n")
    print(*table(["loop", "steps per second", "range"], rows), sep="\n")
    print(f"\nOur loop: {median(speedups):.2f} times the guide's steps per second.")
    print(
        f"Labelling the texts of an epoch once took {taught.label_seconds:.0f} s; each epoch"
        f" then saves {saved:.0f} s."
    )
    return paces


def serving(taught: Any, threads: int) -> dict[str, Any]:
    """Measure throughput and latency of student and teacher."""
    import serving as measured

    found = measured.measure(taught, threads)
    rows = [
        [name, *(f"{value:.1f}" for value in asdict(served).values())]
        for name, served in found.items()
    ]
    ratio = found["student"].texts_per_second / found["teacher"].texts_per_second
    print(f"\n### Serving, batches of {measured.BATCH}, {threads} threads\n")
    print(*table(["model", "documents per second", "P50 ms", "P95 ms", "P99 ms"], rows), sep="\n")
    print(f"\nThe student embeds {ratio:.2f} times the teacher's documents per second.")
    return {name: asdict(served) for name, served in found.items()}


def gateway(trials: int, requests: int) -> dict[str, Any]:
    """Measure how soon a bad student bears nothing, beside Flagger, and what moves cost users."""
    import flagger
    import reaction

    with reaction.scene() as here:
        ours = {
            "half fails after a good start": reaction.half_fails(here, trials),
            "its only pod dies": reaction.pods_die(here, trials),
            "half fails from the start": reaction.half_fails_at_once(here, trials),
        }
        moved = reaction.moves(here, requests)
    with reaction.scene(operated=False) as here:
        theirs = flagger.measure(here, max(1, trials // 4))
    rows = [["kubedistill", fault, *reaction.columns(found)] for fault, found in ours.items()]
    rows.append(["Flagger", "half fails from the start", *reaction.columns(theirs)])
    print(
        f"\n### Reaction on a real gateway, {reaction.RATE:.0f} requests a second, half of them\n"
    )
    heads = ["operator", "fault", "trials", "last failure after s", "P99 s", "answers that failed"]
    print(*table(heads, rows), sep="\n")
    print(
        f"\n{moved.changes} changes of weight: {moved.failed} of {moved.requests} requests failed."
    )
    told = {fault: [asdict(one) for one in found] for fault, found in ours.items()}
    return {"kubedistill": told, "flagger": [asdict(o) for o in theirs], "moves": asdict(moved)}


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write a Markdown table, line by line."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
