"""The process: SIGTERM from the first moment on, then everything else."""

import sys

from distill_server import stopping

# The first thing of all: a process 1 ignores SIGTERM until it has a handler.
stopping.at_once()

from distill_server import process  # noqa: E402 - libraries take seconds to import

if __name__ == "__main__":
    sys.exit(process.main(sys.argv[1:]))
