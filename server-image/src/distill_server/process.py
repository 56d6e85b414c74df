"""From flags to an exit status."""

import logging

from pydantic import ValidationError
from pydantic_settings import CliApp

from distill_server import stopping
from distill_server.errors import BadModel
from distill_server.models import folders
from distill_server.settings import Settings


def main(words: list[str]) -> int:
    """Serve until told to stop; 0 after a drain, 78 for what trying again cannot help."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = CliApp.run(Settings, cli_args=words)
        folders.refuse_without_weights(settings.model)
        # Its libraries take seconds to import; what is wrong with flags or folder is told sooner.
        from distill_server import serving

        server = serving.prepare(settings)
    except ValidationError as error:
        return stopping.wrong_settings(error)
    except BadModel as error:
        return stopping.give_up(error.sentence)
    server.run()
    return 0 if server.started else 1
