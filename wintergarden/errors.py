"""What can go wrong, in the words of every room. Knows no transport.

    WintergardenError
    ├── InvalidArgument       the caller must change the request
    │   └── InvalidTensor     … its name, datatype, shape or bytes
    ├── NotFound              no such model, version, job, architecture, data set
    ├── AlreadyExists
    ├── FailedPrecondition    right request, wrong state
    │   └── StorageFull       … nothing of what did not fit is visible
    ├── PermissionDenied
    ├── Unauthenticated
    ├── Unsupported           we cannot do this; the message names the cure
    ├── Unavailable           try again later
    ├── Overloaded            a bounded queue is full; try again after `retry_after_s`
    ├── TooLarge              longer than is allowed; trying again does not help
    ├── DeadlineExceeded
    ├── Cancelled
    └── DataLoss              an artefact is corrupt, truncated or tampered with

Messages say what was wrong, what was got and what is allowed; they reach the caller. Any other
exception is a fault of ours and reaches the caller as a trace id only.
"""

from __future__ import annotations


class WintergardenError(Exception):
    """An error whose message may be shown to the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def reason(self) -> str:
        """Stable and machine-readable: INVALID_ARGUMENT, OVERLOADED, …"""
        name = type(self).__name__
        return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


class InvalidArgument(WintergardenError):
    """`field` is the path of the offending request field, for example `hyperparameters.epochs`."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidTensor(InvalidArgument):
    pass


class NotFound(WintergardenError):
    pass


class AlreadyExists(WintergardenError):
    pass


class FailedPrecondition(WintergardenError):
    pass


class StorageFull(FailedPrecondition):
    """The same works again when there is space."""


class PermissionDenied(WintergardenError):
    pass


class Unauthenticated(WintergardenError):
    pass


class Unsupported(WintergardenError):
    pass


class Unavailable(WintergardenError):
    pass


class Overloaded(WintergardenError):
    def __init__(self, message: str, retry_after_s: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(WintergardenError):
    pass


class DeadlineExceeded(WintergardenError):
    pass


class Cancelled(WintergardenError):
    pass


class DataLoss(WintergardenError):
    pass
