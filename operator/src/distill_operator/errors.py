"""The tree of errors; the class answers whether trying again can help."""


class DistillationError(Exception):
    """Base of every error of ours; never raised itself."""


class BadSpec(DistillationError):
    """The user must change something; trying again cannot help."""


class BadSettings(DistillationError):
    """The operator was started with an environment it cannot work with."""


class NotYet(DistillationError):
    """The world is not ready; trying again may help."""


class Conflict(NotYet):
    """The object changed since it was read: read it again and decide anew."""


class NotLeading(NotYet):
    """Another replica leads, or may lead by now: nothing may be written."""


class Refused(DistillationError):
    """The API server refused an object of ours for good (4xx)."""


class Exists(Refused):
    """An object of that name is there already (409 AlreadyExists)."""


class Missing(Refused):
    """There is no such object (404)."""


class Unauthorised(DistillationError):
    """A caller of ours could not prove who it is, or may not do what it asked for."""


class TooMany(NotYet):
    """A caller of ours asks more often than it may."""
