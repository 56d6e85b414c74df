"""Trains the tiny student in a process of its own, so that a test can kill it."""

import argparse
import time
from pathlib import Path

import test_loop
import tiny_models
from distill_trainer.training import loop, runtime
from distill_trainer.training.checkpoints import Store


def main() -> None:
    """Train into a folder, telling each step in its file `told`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("prepared", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wait-after", type=int, help="the step after which it waits to be killed")
    given = parser.parse_args()
    runtime.settle(threads=1)
    given.folder.mkdir(exist_ok=True)

    def tell(done: int, _total: int, _metrics: dict[str, float]) -> None:
        with (given.folder / "told").open("a") as told:
            told.write(f"{done}\n")
        if done == given.wait_after:
            time.sleep(1700)

    world = tiny_models.World(tiny_models.teacher(), given.prepared)
    course = test_loop.course(world, given.teacher, maxSteps=test_loop.ALONE)
    loop.train(course, Store(given.folder / "checkpoints"), loop.Watch(tell=tell))


if __name__ == "__main__":
    main()
