"""Hands over what the model read of a few texts in training, and says which model answers.

vLLM imports it by `--middleware` and gives it every request; all but one path go on to vLLM.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

from distill_api.probing import DIGEST_HEADER
from distill_api.token_ids import TOKEN_IDS_FILE, TOKEN_IDS_PATH

FOLDER_VARIABLE: Final = "DISTILL_MODEL_FOLDER"
"""Where the model's files are."""
DIGEST_VARIABLE: Final = "DISTILL_MODEL_DIGEST"
"""Digest of the artifact that is served; without it no answer names one."""

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class HandsTokens:
    """ASGI middleware: answers one path from the model's folder, byte for byte; marks the rest."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._file = Path(os.environ.get(FOLDER_VARIABLE, ""), TOKEN_IDS_FILE)
        digest = os.environ.get(DIGEST_VARIABLE, "")
        self._mark = [(DIGEST_HEADER.encode(), digest.encode())] if digest else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let vLLM answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] != TOKEN_IDS_PATH:
            await self._app(scope, receive, self._marking(send))
            return
        # A few kilobytes, asked for once in a process's life: reading them blocks nobody.
        found = self._file.read_bytes() if self._file.is_file() else None
        status = 404 if found is None else 200
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": found or b"{}"})

    def _marking(self, send: Send) -> Send:
        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._mark]}
            await send(message)

        return marked
