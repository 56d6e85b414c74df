"""kopf as the shell: watch streams in, nothing out; it never writes to an object."""

from collections.abc import Mapping
from typing import Any, Final

import kopf

from distill_operator.effects import connection
from distill_operator.effects.kinds import Kind
from distill_operator.effects.watches import Watches

LOGIN_RETRY: Final = 5.0
"""Seconds until another try when the credentials cannot be read."""


def settings(selectors: Mapping[Kind, str]) -> kopf.OperatorSettings:
    """Return kopf's settings: what each is for is in the comments."""
    found = kopf.OperatorSettings()
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.connect_timeout = 5
    found.watching.chunk_size = 500
    found.networking.request_timeout = 30
    # Short pauses: a watch that is down blinds us, and there are only a few.
    found.networking.error_backoffs = (1, 1, 2, 2, 3, 3, 3, 3)
    # Without log events and change-detecting handlers kopf has nothing to write.
    found.posting.enabled = False
    found.posting.loggers = False
    # No rights to list namespaces and CRDs: we say what is watched, and the chart brings the CRD.
    found.scanning.disabled = True
    found.peering.standalone = True
    for kind, selector in selectors.items():
        if selector:
            found.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return found


def registry(watches: Watches) -> kopf.OperatorRegistry:
    """Return kopf's registry: a raw event handler for each kind, and our way to log in."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, backoff=LOGIN_RETRY)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return connection.login()

    for kind in watches.scope.selectors:
        _listen(handlers, kind, watches)
    return handlers


def _listen(handlers: kopf.OperatorRegistry, kind: Kind, watches: Watches) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers, id="deliver")
    async def deliver(event: kopf.RawEvent, **_: Any) -> None:
        watches.deliver(kind, event["type"], dict(event["object"]))
