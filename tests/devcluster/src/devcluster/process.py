"""One process type for every component: start, health, stop, and a death that explains itself.

What runs is written to disk, so that another process can attach, stop and start it.
"""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devcluster.errors import ComponentDied, NotHealthy

# The shell around a component writes down its exit status: nobody else could, once the process
# that raised the cluster has gone. The trap keeps the shell alive until the component has ended.
RECORD_STATUS = 'trap : TERM INT; "$@"; echo $? >"$0"'
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Health:
    """How to ask a component whether it works: a URL that answers 200 or a program that exits 0."""

    url: str = ""
    ca: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything needed to start a component, now or again later."""

    name: str
    argv: tuple[str, ...]
    health: Health = Health()
    env: dict[str, str] = field(default_factory=dict)
    seconds: float = 180


@dataclass(frozen=True, slots=True)
class Running:
    """A started component. `born` (clock ticks since boot) tells a reused pid apart."""

    spec: Spec
    pid: int
    born: int
    log: str
    exit_file: str
    stopped: bool = False
    """Stopped on purpose: its silence is no death."""


def start(spec: Spec, *, logs: Path) -> Running:
    """Start a component in its own process group, its output appended to a log file."""
    logs.mkdir(parents=True, exist_ok=True)
    stem = spec.name.replace("/", ".")
    log, exit_file = logs / f"{stem}.log", logs / f"{stem}.exit"
    exit_file.unlink(missing_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", RECORD_STATUS, str(exit_file), *spec.argv],
            env={**os.environ, **spec.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The record, not this object, is what later looks after the process.
    child.returncode = 0
    return Running(spec, child.pid, _born(child.pid), str(log), str(exit_file))


def alive(process: Running) -> bool:
    """Whether any process of the component's group still runs."""
    _reap(process.pid)
    return bool(_members(process))


def healthy(health: Health) -> bool:
    """Ask once."""
    if health.command:
        done = subprocess.run(health.command, capture_output=True, check=False, timeout=10)
        return done.returncode == 0
    return not health.url or _answers(health.url, health.ca)


def wait_healthy(process: Running) -> None:
    """Return once the component answers; raise when it dies or takes too long."""
    deadline = time.monotonic() + process.spec.seconds
    while not (alive(process) and healthy(process.spec.health)):
        if not alive(process):
            raise ComponentDied(obituary(process))
        if time.monotonic() > deadline:
            raise NotHealthy(
                f"{process.spec.name} is not healthy after {process.spec.seconds:.0f} s "
                f"({process.spec.health.url or ' '.join(process.spec.health.command)}); "
                f"last lines of {process.log}:\n{tail(Path(process.log))}"
            )
        time.sleep(POLL_SECONDS)


def stop(process: Running, *, grace_seconds: float = 10) -> None:
    """End the component and everything in its group, politely first."""
    deadline = time.monotonic() + grace_seconds
    _signal(process, signal.SIGTERM)
    while alive(process) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 2)
    kill(process)


def kill(process: Running) -> None:
    """End the component at once and wait until it is gone."""
    while alive(process):
        # Again each time: a process that was just being forked was not there to be killed.
        _signal(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS / 10)


def obituary(process: Running) -> str:
    """One sentence on how the component ended, then its last words."""
    try:
        how = f"exit status {Path(process.exit_file).read_text().strip()}"
    except FileNotFoundError:
        how = "killed"
    return (
        f"{process.spec.name} died ({how}); last lines of {process.log}:\n{tail(Path(process.log))}"
    )


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])


def save(process: Running, folder: Path) -> None:
    """Write the record that another process attaches by."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{process.spec.name.replace('/', '.')}.json"
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(process), indent=2))
    draft.replace(file)


def load(file: Path) -> Running:
    """Read a record back."""
    record = json.loads(file.read_text())
    spec = record.pop("spec")
    health = spec.pop("health")
    return Running(
        Spec(
            health=Health(**{**health, "command": tuple(health["command"])}),
            argv=tuple(spec.pop("argv")),
            **spec,
        ),
        **record,
    )


def children(pid: int) -> list[int]:
    """Living children of a process."""
    return [
        other for other in _pids() if (stat := _stat(other)) and stat.alive and stat.parent == pid
    ]


def _signal(process: Running, number: signal.Signals) -> None:
    for pid in _members(process):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _members(process: Running) -> Sequence[int]:
    """Living processes of the group.

    The group's leader may be gone while a component behind `nsenter`, which passes no signals
    on, is still shutting down; so the group decides, not the leader. Its number stays taken as
    long as it has members, so only a leader born at another time shows a reused number.
    """
    leader = _stat(process.pid)
    if leader and leader.born != process.born:
        return []
    return [
        pid for pid in _pids() if (stat := _stat(pid)) and stat.alive and stat.group == process.pid
    ]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


@dataclass(frozen=True, slots=True)
class _Stat:
    alive: bool
    parent: int
    group: int
    born: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces; fields count from behind it (proc_pid_stat(5)).
    state, parent, group, *rest = text.rpartition(")")[2].split()
    return _Stat(state not in "ZX", int(parent), int(group), int(rest[16]))


def _born(pid: int) -> int:
    stat = _stat(pid)
    return stat.born if stat else 0


def _reap(pid: int) -> None:
    """Collect the process if it is our child, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _answers(url: str, ca: str) -> bool:
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # noqa: S310 - our own URLs
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
