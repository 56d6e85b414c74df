"""A component starts, answers, stops, and explains its death."""

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from devcluster import process
from devcluster.errors import ComponentDied, NotHealthy
from devcluster.process import Health, Running, Spec


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Running]]:
    """Collect processes that end with the test, whatever happens in it."""
    running: list[Running] = []
    yield running
    for one in running:
        process.kill(one)


def _start(tmp_path: Path, started: list[Running], script: str, **spec: object) -> Running:
    one = process.start(
        replace(Spec("thing", ("sh", "-c", script)), **spec),  # type: ignore[arg-type]
        logs=tmp_path,
    )
    started.append(one)
    return one


def test_a_death_shows_exit_status_and_last_lines(tmp_path: Path, started: list[Running]) -> None:
    one = _start(tmp_path, started, "echo first; echo 'no such flag' >&2; exit 3")
    with pytest.raises(ComponentDied, match=r"(?s)thing died \(exit status 3\).*no such flag"):
        process.wait_healthy(_never_healthy(one))


def test_a_killed_component_is_reported_as_killed(tmp_path: Path, started: list[Running]) -> None:
    one = _start(tmp_path, started, "exec sleep 60")
    process.kill(one)
    assert not process.alive(one)
    assert "thing died (killed)" in process.obituary(one)


def test_an_unhealthy_component_is_reported_with_what_it_said(
    tmp_path: Path, started: list[Running]
) -> None:
    one = _start(tmp_path, started, "echo waiting for the moon; exec sleep 60", seconds=0.3)
    with pytest.raises(NotHealthy, match=r"(?s)not healthy after 0 s.*waiting for the moon"):
        process.wait_healthy(_never_healthy(one))


def test_stop_lets_the_component_finish_its_work(tmp_path: Path, started: list[Running]) -> None:
    finish = f"sleep 0.2; echo done >{tmp_path}/finished; exit 0"
    script = f"trap '{finish}' TERM; echo up; while :; do sleep 0.05; done"
    one = _start(tmp_path, started, script)
    _await(lambda: "up" in Path(one.log).read_text())
    process.stop(one)
    assert (tmp_path / "finished").read_text() == "done\n"
    assert Path(one.exit_file).read_text() == "0\n"


def test_stop_kills_what_does_not_listen(tmp_path: Path, started: list[Running]) -> None:
    one = _start(tmp_path, started, "trap '' TERM; echo up; while :; do sleep 0.05; done")
    _await(lambda: "up" in Path(one.log).read_text())
    process.stop(one, grace_seconds=0.2)
    assert not process.alive(one)


def test_children_of_the_component_end_with_it(tmp_path: Path, started: list[Running]) -> None:
    one = _start(tmp_path, started, f"sleep 60 & echo $! >{tmp_path}/child; wait")
    _await(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "")
    child = int((tmp_path / "child").read_text())
    process.kill(one)
    stat = process._stat(child)
    assert stat is None or not stat.alive


def test_another_process_attaches_by_the_record(tmp_path: Path, started: list[Running]) -> None:
    one = _start(tmp_path, started, "sleep 60", health=Health(command=("true",)), env={"A": "b"})
    process.save(one, tmp_path / "records")
    again = process.load(tmp_path / "records" / "thing.json")
    assert again == one
    assert process.alive(again)


def test_a_reused_pid_is_not_taken_for_the_component(
    tmp_path: Path, started: list[Running]
) -> None:
    one = _start(tmp_path, started, "sleep 60")
    reused = replace(one, born=one.born + 1)
    assert process.alive(one)
    assert not process.alive(reused)


def test_health_is_what_the_url_answers() -> None:
    statuses = [503, 200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        health = Health(f"http://127.0.0.1:{server.server_port}/healthz")
        assert not process.healthy(health)
        assert process.healthy(health)
        server.shutdown()
    assert not process.healthy(health)


def test_health_is_how_the_command_exits() -> None:
    assert process.healthy(Health(command=("true",)))
    assert not process.healthy(Health(command=("false",)))


def test_the_tail_of_a_long_log_is_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert process.tail(log, lines=2) == "  | line 49998\n  | line 49999"


def _never_healthy(one: Running) -> Running:
    return replace(one, spec=replace(one.spec, health=Health(command=("false",))))


def _await(condition: object) -> None:
    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
