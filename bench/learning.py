"""The parts of the bench that train: how fast, in how much memory, and what it is worth."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import apart
import lesson
from apart import Measured
from loops import Loop
from tables import table

WARM_UP: Final = 2
"""Steps of each training that are not counted."""
RANKED: Final = 16
"""Queries of a reranker's step, each with a list."""
ANSWERED: Final = 8
"""Answers of a generator's step."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the size of each training be chosen."""
    sizes = {
        "records": (600, "that embedding students learn from"),
        "batch": (32, "records of an embedding's step, each with two texts"),
        "steps": (12, "of each loop of an embedding in each round"),
        "tuning-steps": (60, "in which MiniLM becomes a teacher that knows more"),
        "embedding-steps": (60, "of each embedding student, with and without teacher"),
        "ranker-steps": (300, "in which the cross-encoder becomes a teacher"),
        "reranker-records": (400, "that reranker students learn from"),
        "reranker-steps": (60, "of each reranker student"),
        "generator-rounds": (2, "of each loop of a generator"),
        "generator-epoch": (40, "answers of an epoch of the generator's loops"),
        "generator-records": (320, "answers that generator students learn from"),
        "writer-steps": (40, "in which SmolLM2 becomes a teacher of answers, or of expansions"),
        "generator-steps": (40, "of each generator student, and of each that expands queries"),
        "calibration-records": (128, "answers by which 4-bit weights are calibrated"),
        "aware-steps": (40, "in which SmolLM2 gets used to 4-bit weights"),
    }
    for name, (default, words) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=words)


type Runs = dict[str, list[Measured[Loop]]]


def shared(options: argparse.Namespace, scratch: Path) -> lesson.Lesson:
    """Make the embedding's lesson once for all parts."""
    return lesson.make(scratch.parent / "embedding", options.records)


def tuned(options: argparse.Namespace, scratch: Path) -> lesson.Lesson:
    """Make the lesson of a teacher that knows more than the labels once for all parts."""
    return lesson.tuned(scratch.parent / "tuned", options.records, options.tuning_steps)


def embedding_loops(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure both loops of an embedding, round by round in turns."""
    import loops

    taught = shared(options, scratch)
    runs: Runs = {"the guide's Trainer": [], "our loop": []}
    for number in range(options.rounds):
        for name, teach in zip(runs, (loops.guide, loops.ours), strict=True):
            place = scratch / f"{teach.__name__}-{number}"
            given = (taught, options.batch, options.steps, place)
            runs[name].append(apart.run(options.threads, teach, *given))
    paces = _paces(runs)
    # Our loop has paid for its labels before; after so many epochs it has earned them back.
    steps = taught.texts / (2 * options.batch)
    saved = steps * (1 / median(paces["the guide's Trainer"]) - 1 / median(paces["our loop"]))
    print(f"\n### Training an embedding, {options.batch} records a step\n")
    _tell(runs, paces)
    print(
        f"Labelling the texts of an epoch once took {taught.label_seconds:.0f} s; each epoch"
        f" then saves {saved:.0f} s."
    )
    return {"paces": paces} | _kept(runs)


def causal_loops(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure three loops of a generator, round by round in turns."""
    import answers
    import causal_loops

    count = options.generator_epoch
    taught = answers.make(scratch, count)
    runs: Runs = {"the guide's Trainer": [], "our loop, teacher in every step": [], "our loop": []}
    labels: list[float] = []
    for number in range(options.generator_rounds):
        labelled, seconds = apart.run(options.threads, causal_loops.label, taught, count).value
        labels.append(seconds)
        asked: dict[Callable[..., Loop], Any] = {
            causal_loops.guide: count,
            causal_loops.in_the_loop: count,
            causal_loops.cached: labelled,
        }
        for name, (teach, examples) in zip(runs, asked.items(), strict=True):
            given = (taught, examples, ANSWERED, scratch / f"{teach.__name__}-{number}")
            runs[name].append(apart.run(options.threads, teach, *given))
    print(f"\n### Training a generator, {ANSWERED} answers a step\n")
    _tell(runs, _paces(runs))
    _tell_epochs(runs, labels, count // ANSWERED)
    return {"paces": _paces(runs), "labelSeconds": labels} | _kept(runs)


def _paces(runs: Runs) -> dict[str, list[float]]:
    """Return the steps per second of each round."""
    return {
        name: [1 / median(run.value.seconds[WARM_UP:]) for run in found]
        for name, found in runs.items()
    }


def _tell(runs: Runs, paces: Mapping[str, list[float]]) -> None:
    """Print pace and memory of each loop, and the losses of the last step that all have done."""
    last = min(len(run.value.losses) for found in runs.values() for run in found)
    first = median(next(iter(paces.values())))
    rows = [
        [
            name,
            f"{median(paces[name]):.2f} ({median(paces[name]) / first:.2f}x)",
            f"{min(paces[name]):.2f} to {max(paces[name]):.2f}",
            f"{max(run.peak for run in found):,.0f}",
            f"{found[0].value.losses[0]:.4f}",
            f"{found[0].value.losses[last - 1]:.4f}",
        ]
        for name, found in runs.items()
    ]
    losses = ("loss of step 1", f"of step {last}")
    print(*table(["loop", "steps per second", "range", "peak MiB", *losses], rows), sep="\n")
    print()


def _tell_epochs(runs: Runs, labels: list[float], steps: int) -> None:
    """Print what each epoch costs with and without the cache."""
    _, loop, cached = runs.values()

    def epoch(found: list[Measured[Loop]], number: int) -> float:
        own = slice(number * steps, (number + 1) * steps)
        return median(sum(run.value.seconds[own]) for run in found)

    label = median(labels)
    print(*table(
        ["epoch", "teacher in every step, s", "cache, s", "ratio"],
        [
            [name, f"{epoch(loop, number):.1f}", f"{epoch(cached, number) + more:.1f}",
             f"{epoch(loop, number) / (epoch(cached, number) + more):.2f}"]
            for number, (name, more) in enumerate((("1, with labelling", label), ("2", 0.0)))
        ],
    ), sep="\n")  # fmt: skip


def _kept(runs: Runs) -> dict[str, Any]:
    return {
        "peakMiB": {name: [run.peak for run in found] for name, found in runs.items()},
        "losses": {name: [run.value.losses for run in found] for name, found in runs.items()},
        "seconds": {name: [run.value.seconds for run in found] for name, found in runs.items()},
    }


def worth_embedding(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure whether distilling an embedding is worth it."""
    import worth

    taught = tuned(options, scratch)
    work = worth.Work(options.batch, options.embedding_steps, scratch / "students")
    found = worth.embedding(taught, work)
    _tell_worth("embedding", work, {"nDCG@10": found})
    return found


def worth_reranker(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure whether distilling a reranker is worth it."""
    import worth

    taught = lesson.ranked(scratch / "lesson", options.reranker_records, options.ranker_steps)
    work = worth.Work(RANKED, options.reranker_steps, scratch / "students")
    found = worth.reranker(taught, work)
    _tell_worth("reranker", work, {"nDCG@10": found})
    return found


def worth_generator(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure whether distilling a generator is worth it."""
    import answers
    import worth

    made = answers.make(scratch / "lesson", options.generator_records)
    taught = answers.adapted(made, scratch, options.writer_steps)
    work = worth.Work(ANSWERED, options.generator_steps, scratch / "students")
    found = worth.generator(taught, work)
    _tell_worth("generator", work, found)
    return dict(found)


def worth_query_transform(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure whether distilling a query transform is worth it."""
    import answers
    import worth

    made, bench = answers.expansions(scratch / "lesson", options.generator_records)
    taught = answers.adapted(made, scratch, options.writer_steps)
    work = worth.Work(ANSWERED, options.generator_steps, scratch / "students")
    found = worth.query_transform(taught, bench, work)
    _tell_worth("query transform", work, found)
    return dict(found)


def _tell_worth(component: str, work: Any, found: Mapping[str, Mapping[str, list[float]]]) -> None:
    print(f"\n### Worth having: {component}, {work.steps} steps of {work.batch} records\n")
    for measure, scores in found.items():
        rows = [
            [name, f"{sum(own) / len(own):.3f}", ", ".join(f"{one:.3f}" for one in own)]
            for name, own in scores.items()
        ]
        print(*table(["student", f"{measure}, mean", "each seed"], rows), sep="\n")
        print()
