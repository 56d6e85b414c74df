"""From flags to a prober that works until it is told to stop."""

import logging

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp

from distill_server import stopping
from distill_server.prober import pages
from distill_server.prober.probe import Probe
from distill_server.prober.settings import Settings


def main(words: list[str]) -> int:
    """Work until told to stop; 0 then, 78 for flags that cannot work, 1 for a fault."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Each request is logged there, at a level that is of use to nobody.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = CliApp.run(Settings, cli_args=words)
    except ValidationError as error:
        return stopping.wrong_settings(error)
    failed: list[bool] = []

    def ended() -> None:
        failed.append(True)
        server.should_exit = True

    server = Server(
        uvicorn.Config(
            pages.build(Probe(settings), ended),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    server.run()
    return 1 if failed or not server.started else 0


class Server(uvicorn.Server):
    """uvicorn, without raising the signal again that it was stopped by: that is no failure."""

    def handle_exit(self, _sig: int, _frame: object) -> None:
        """Stop."""
        self.should_exit = True
