"""The tree of errors: the class answers who has to change something."""

from typing import ClassVar


class ServerError(Exception):
    """A failure with a sentence for people; never raised itself."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class BadModel(ServerError):
    """The folder cannot be served; trying again cannot help."""


class Refused(ServerError):
    """A request that gets no result; the class has its HTTP status and OpenAI's words for it."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    retry_after: ClassVar[int | None] = None
    """Seconds after which trying again may help."""


class BadRequest(Refused):
    """The caller must change the request."""

    status = 400
    type = "invalid_request_error"


class UnknownModel(Refused):
    """The caller asks for a model that is not served here."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class NoTokenIds(Refused):
    """The model was published without what it read in training."""

    status = 404
    type = "invalid_request_error"
    code = "no_token_ids"


class TooLarge(Refused):
    """The body is larger than this server reads."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class Gone(Refused):
    """The caller closed the connection; nobody reads this answer."""

    status = 499
    type = "invalid_request_error"
    code = "client_closed_request"


class NotComputed(Refused):
    """The server failed, and its log says how."""


class Overloaded(Refused):
    """Too much waits already.

    503 and not 429: the server is too small, which is no fault of this caller, and a rollout must
    see a student that cannot carry its traffic among the errors.
    """

    status = 503
    code = "overloaded"
    retry_after = 1


class TooLate(Refused):
    """The request's time ran out before its turn was over."""

    status = 504
    code = "deadline_exceeded"
