"""The tree of errors; the class answers whether trying again can help."""


class DistillationError(Exception):
    """Base of every error of ours; never raised itself."""


class BadSpec(DistillationError):
    """The user must change something; trying again cannot help."""


class NotYet(DistillationError):
    """The world is not ready; trying again may help."""


class Conflict(NotYet):
    """The object changed since it was read: read it again and decide anew."""


class Refused(DistillationError):
    """The API server refused an object of ours for good (4xx)."""
