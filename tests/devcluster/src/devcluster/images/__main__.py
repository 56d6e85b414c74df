"""Build the images: `python -m devcluster.images build|reference|lock|pin`."""

import argparse
import sys
import time
from pathlib import Path

from devcluster.images import build, lock, recipe
from devcluster.images.buildah import BuildFailed
from devcluster.images.places import Places

ROOT = Path(__file__).resolve().parents[5]


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.images", description=__doc__)
    parser.add_argument("verb", choices=["build", "reference", "lock", "pin"])
    every, more = ", ".join(recipe.NAMES), ", ".join(recipe.ON_DEMAND)
    parser.add_argument(
        "images", nargs="*", help=f"{every}; without one, all of these; and {more}, where named"
    )
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--check", action="store_true", help="lock: change nothing, fail if stale")
    return parser.parse_args(words)


def refresh(*, check: bool) -> int:
    """Write the requirement files anew, or only say which are stale."""
    stale = lock.stale(ROOT)
    for name, text in stale.items():
        if check:
            print(f"{name} is older than uv.lock: run `make generate`")
        else:
            (ROOT / name).write_text(text)
            print(f"wrote {name}")
    return 1 if check and stale else 0


def main(words: list[str]) -> int:
    """Do what the command line asks."""
    options = arguments(words)
    if options.verb == "lock":
        return refresh(check=options.check)
    if options.verb == "pin":
        (ROOT / lock.VLLM).write_text(lock.pin(ROOT))
        print(f"wrote {lock.VLLM}")
        return 0
    for name in options.images or recipe.NAMES:
        image = recipe.named(name, options.accelerator)
        if options.verb == "reference":
            print(recipe.names(image, ROOT).image)
            continue
        started = time.monotonic()
        built = build.ensure(image, ROOT, Places.of_user())
        print(built.reference, built.layout, flush=True)
        build.say(f"{name} took {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BuildFailed, ValueError, OSError) as problem:
        sys.exit(f"images: {problem}")
