"""`python -m distill_api.generate [--check]`: write the generated files, or say which differ."""

import argparse
import sys
from pathlib import Path

from distill_api.generate import files


def main() -> int:
    """Return 0 when all files are as the models say, else 1."""
    parser = argparse.ArgumentParser(prog="python -m distill_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, list what differs")
    parser.add_argument("--root", type=Path, default=files.ROOT, help="top of the source tree")
    arguments = parser.parse_args()
    differing = (files.differing if arguments.check else files.write)(arguments.root)
    for path in differing:
        sys.stdout.write(f"{'differs: ' if arguments.check else 'wrote '}{path}\n")
    return 1 if arguments.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
