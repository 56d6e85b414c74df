"""Requests at a constant rate reach a real server, and each outcome is known."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from devcluster import paths, traffic
from devcluster.errors import ClusterError

built = pytest.mark.skipif(
    not list(paths.default().programs.glob("vegeta-*/vegeta")),
    reason="needs vegeta: run `python -m devcluster build`",
)


class _Answers(BaseHTTPRequestHandler):
    """Answers 200 to `/good` and 503 to anything else, after 20 ms."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(0.02)
        sent = (body, self.headers["x-name"], self.headers["host"])
        good = self.path == "/good" and sent == (b"text", "value", "a.example.com")
        self.send_response(200 if good else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@built
def test_each_request_of_the_cycle_has_its_outcome(address: str) -> None:
    cycle = [
        traffic.Request(
            f"{address}/{path}", "POST", {"x-name": "value", "host": "a.example.com"}, b"text"
        )
        for path in ("good", "bad")
    ]
    began = time.time()
    with traffic.flowing(cycle, per_second=50) as flow:
        time.sleep(2)
    found = flow.outcomes
    assert 60 <= len(found) <= 140
    assert {outcome.status for outcome in found} == {200, 503}
    good = sum(outcome.good for outcome in found)
    assert abs(2 * good - len(found)) <= 1
    assert all(outcome.seconds >= 0.02 for outcome in found)
    assert all(began <= outcome.began <= outcome.ended <= time.time() for outcome in found)
    assert flow.since(time.time()) == []


@built
def test_an_answer_that_never_comes_is_an_outcome() -> None:
    with traffic.flowing([traffic.Request("http://127.0.0.1:9/")], per_second=20) as flow:
        time.sleep(0.5)
    assert flow.outcomes
    assert {outcome.status for outcome in flow.outcomes} == {0}
    assert "refused" in flow.outcomes[0].error


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://8.8.8.8:80/", "http://example.com/"])
def test_no_request_leaves_the_machine(url: str) -> None:
    with pytest.raises(ClusterError, match=r"IP address|outside"):
        traffic.refuse_outside(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://10.244.1.7:8080/v1/embeddings"])
def test_the_cluster_is_ours(url: str) -> None:
    traffic.refuse_outside(url)
