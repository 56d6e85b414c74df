"""Distils a cross-encoder to two of its six layers, on this machine, stage by stage.

    python -m examples.reranker.demo OUTPUT_FOLDER [--job bi-encoder] [--records 1000]

The teacher is made first, from the weights of a package (see teacher.py). An interrupted run goes
on where it was: what is complete is not done again.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from distill_trainer.errors import BadInput

from examples import stages
from examples.embedding import corpus, result
from examples.reranker import teacher

HERE = Path(__file__).parent


def job(name: str, folder: Path, records: int | None) -> stages.Job:
    """Return one of this folder's jobs, with its teacher and its data below a folder.

    records: how many of the data's rows are read; None reads all.
    """
    made = stages.read(
        HERE / f"{name}.yaml", teacher=folder / "teacher", data=folder / "data.jsonl"
    )
    if records is not None:
        made["spec"]["data"]["maxRecords"] = records
    return made


def main() -> None:
    """Read the command line, make the teacher unless it is there, and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--job", default="cross-encoder", help="name of a file beside this one")
    parser.add_argument("--records", type=int, help="rows of the data to read; all by default")
    parser.add_argument("--steps", type=int, default=200, help="of the teacher's training")
    parser.add_argument("--threads", type=int, default=os.process_cpu_count() or 1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="   %(message)s")
    folder = given.folder.resolve()
    rows, _ = corpus.held_out(corpus.of_this_python())
    corpus.write(rows, folder / "data.jsonl")
    print(f"== teacher: {folder / 'teacher'}", flush=True)
    teacher.make(folder / "teacher", steps=given.steps)
    made = job(given.job, folder, given.records)
    try:
        reports = stages.run(made, folder / given.job, threads=given.threads)
    except BadInput as refusal:
        sys.exit(f"{refusal}")
    result.show(result.of(reports), items="pairs")


if __name__ == "__main__":
    main()
