"""The pod's own process of a training by several: starts torchrun, and tells the pod's outcome.

torchrun tells only that a process failed; why is in the report that the process left.
"""

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from distill_api import wire
from distill_api.names import Exit, Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Failure, Report, Task
from pydantic import ValidationError

from distill_trainer import errors
from distill_trainer.context import Places, pod_index, stopped
from distill_trainer.distributed.peers import Peers
from distill_trainer.errors import PeerLost, TryAgain
from distill_trainer.usage import Meter

LONGEST_START: Final = 900
"""Seconds until all pods must have started: images are pulled meanwhile."""
CHECK_SECONDS: Final = 1.0
NOTICE_SECONDS: Final = 5.0
"""Time for a pod's processes to find out on their own that a peer is lost."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where this pod stands among those of the stage."""

    index: int
    address: str
    port: str

    @classmethod
    def here(cls) -> "Place":
        """Read it from the environment; a pod that is alone meets itself."""
        return cls(
            pod_index(),
            os.environ.get(wire.ENV_MASTER_ADDRESS, "127.0.0.1"),
            os.environ.get(wire.ENV_MASTER_PORT, "29500"),
        )


def wanted(task: Task) -> bool:
    """Tell whether this process has to start others that do the stage."""
    distributed = task.spec.training.distributed
    several = distributed.pods * distributed.processes_per_pod > 1
    return several and task.stage is Stage.TRAIN and "RANK" not in os.environ


def command(task: Task, place: Place, arguments: Sequence[str], reports: Path) -> list[str]:
    """Return the command line of torchrun; each process writes its report below a folder."""
    distributed = task.spec.training.distributed
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        f"--nnodes={distributed.pods}",
        f"--node-rank={place.index}",
        f"--nproc-per-node={distributed.processes_per_pod}",
        f"--master-addr={place.address}",
        f"--master-port={place.port}",
        # The Job replaces pods; a process alone has nobody to go on with.
        "--max-restarts=0",
        f"--rdzv-conf=timeout={LONGEST_START}",
        *("-m", "distill_trainer", *arguments, f"--report={reports}/of-process.json"),
    ]


def run(
    task: Task, arguments: Sequence[str], scratch: Path, stop: threading.Event
) -> tuple[Report, Exit]:
    """Run the pod's processes to their end; return the pod's report and status.

    Of the pods that end well only the first one reports the result: there is one.
    """
    reports = scratch / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    for old in reports.glob("*.json"):
        old.unlink()
    place, meter = Place.here(), Meter(task.gpus)
    known = Peers(place.index, f"{task.job.uid}/{task.attempt}")
    if task.spec.training.distributed.pods > 1:
        known.start(place.address, int(place.port) + 1)
        _meet(known, stop)
    line = command(task, place, arguments, reports)
    log.info("%s", " ".join(line[1:]))
    process = subprocess.Popen(line)
    ended = _wait(process, stop, known)
    found = outcome(task.stage, read(reports), process.returncode)
    found = _agreed(found, known, stop, ended=ended)
    known.finish(well=found.outcome == "Done")
    used = found.usage if found.reused else meter.read(found.usage)
    share = found.outcome == "Done" and place.index > 0
    told = found.model_copy(update={"usage": _own(used, share=share), "share": share})
    return told, status(found)


def _own(used: Usage, *, share: bool) -> Usage:
    """Return a pod's usage; only the first one tells how long the stage took."""
    return used.model_copy(update={"seconds": None}) if share else used


def _meet(known: Peers, stop: threading.Event) -> None:
    """Wait for the first pod; torchrun tells what is wrong if it does not come."""
    end = time.monotonic() + LONGEST_START
    while not (known.met.wait(CHECK_SECONDS) or stop.is_set() or time.monotonic() > end):
        pass


def _wait(process: "subprocess.Popen[bytes]", stop: threading.Event, known: Peers) -> bool:
    """Wait for the end; pass on that the pod has to go, so that a checkpoint is written.

    Returns whether the processes were ended here, as they waited in vain for a lost peer.
    """
    asked, patience = False, math.inf
    while process.poll() is None:
        time.sleep(CHECK_SECONDS)
        if stop.is_set() and not asked:
            asked = True
            process.send_signal(signal.SIGTERM)
        if known.lost and patience == math.inf:
            # The processes find out as well, and then say so.
            patience = time.monotonic() + NOTICE_SECONDS
        if time.monotonic() > patience and not asked:
            # They sit in a call that cannot be interrupted; what is left goes with the pod.
            process.kill()
            process.wait()
            return True
    return False


def _agreed(found: Report, known: Peers, stop: threading.Event, *, ended: bool) -> Report:
    """Return the outcome of a pod in view of the others.

    One that has done its share waits for the first pod, which writes the result: if that pod is
    lost, all have to be there again.
    """
    if found.outcome == "Done":
        return found if known.index == 0 else _awaited(found, known, stop)
    if known.lost and (ended or _echo(found)):
        return _ended_by(found, PeerLost(known.lost.capitalize()))
    return found


def _awaited(found: Report, known: Peers, stop: threading.Event) -> Report:
    while not known.done.wait(CHECK_SECONDS):
        if known.lost:
            return _ended_by(found, PeerLost(known.lost.capitalize()))
        if stop.is_set():
            return _ended_by(found, stopped())
    return found


def _ended_by(found: Report, error: TryAgain) -> Report:
    failure, _ = errors.failure(error)
    return found.model_copy(update={"outcome": "TryAgain", "failure": failure})


def status(found: Report) -> Exit:
    """Return the pod's exit status: what a lost peer took along counts as no try."""
    return Exit.PEER_LOST if _echo(found) else STATUS[found.outcome]


def read(reports: Path) -> list[Report]:
    """Return the reports of the pod's processes, by rank; one that cannot be read is left out."""
    found = []
    for path in sorted(reports.glob("*.json")):
        try:
            found.append(Report.model_validate_json(path.read_bytes()))
        except ValidationError:
            log.warning("%s is no report", path.name)
    return found


def outcome(stage: Stage, reports: Sequence[Report], code: int) -> Report:
    """Return the pod's report: what must be changed before what may pass, and that before done.

    A process that lost a peer says so as well; the peer's own reason tells more.
    """
    failed = [report for report in reports if report.failure is not None]
    for kind in ("GiveUp", "TryAgain"):
        of_kind = [report for report in failed if report.outcome == kind]
        first = [report for report in of_kind if not _echo(report)]
        if of_kind:
            return (first or of_kind)[0]
    if code == 0 and reports:
        return reports[0]
    message = (
        f"The processes of this pod ended with status {code} and left no report: one was killed,"
        " perhaps for its memory; all start again from the last complete checkpoint"
    )
    failure = Failure(reason=Reason.CRASHED, message=message)
    return Report(stage=stage, outcome="TryAgain", failure=failure)


def _echo(report: Report) -> bool:
    return report.failure is not None and report.failure.reason is Reason.PEER_LOST


STATUS: Final = {"Done": Exit.DONE, "TryAgain": Exit.TRY_AGAIN, "GiveUp": Exit.GIVE_UP}


def leads() -> bool:
    """Tell whether this process is the one that tells progress."""
    return os.environ.get("RANK", "0") == "0" and pod_index() == 0


def own(places: Places) -> Places:
    """Return the places of one of a pod's processes: each has a folder for temporary files."""
    local = os.environ.get("LOCAL_RANK")
    if local is None:
        return places
    return replace(places, scratch=places.scratch / f"process-{int(local)}")


def mine(report: Path) -> Path:
    """Return where one of several processes writes its report."""
    rank = os.environ.get("RANK")
    return report if rank is None else report.with_name(f"{int(rank):05d}.json")
