"""The process: SIGTERM from the first moment on, then one stage."""

import sys

from distill_trainer import stopping

# Not in processes that this one spawns, which import its main module: they end by SIGTERM.
if __name__ == "__main__":
    STOP = stopping.heard()
    from distill_trainer import process  # libraries take a second to import

    sys.exit(process.main(sys.argv[1:], STOP))
