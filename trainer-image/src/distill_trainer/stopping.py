"""SIGTERM from the first moment on."""

import signal
import threading


def heard() -> threading.Event:
    """Return what SIGTERM sets from now on; stages look at it between steps.

    The kernel gives process 1 of a container no default action: a SIGTERM that comes before there
    is a handler, while libraries are being imported, would be lost, and the stage go on until it is
    killed at the end of its grace period.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    return stop
