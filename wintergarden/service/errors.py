"""How each error of the vocabulary looks on the wire: one table, used by every transport.

The status carries `google.rpc.Status` details: `ErrorInfo` always (its `reason` is stable),
`BadRequest` where a request field is to blame, `RetryInfo` where the caller may try again.
An exception without a row is a fault of ours: it is logged under a trace id, and the caller
learns nothing but that id.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from wintergarden import errors

DOMAIN = "wintergarden"
DETAILS_KEY = "grpc-status-details-bin"
# The message travels up to three times (grpc-message and, in base64, details) in metadata that
# clients cap at 8 KiB.
MAX_MESSAGE_BYTES = 1_800

Metadata = Sequence[tuple[str, str | bytes]]

STATUS: dict[type[Exception], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ends when it does not end well."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()


class StatusError(Exception):
    """A status already decided, by another server for instance, to be answered as it is."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


def status_of(error: BaseException, method: str = "") -> Status:
    """The status to answer for an error; logs it when it is a fault of ours.

    Args:
        error: what the handler raised.
        method: path of the call, for the log.
    """
    if isinstance(error, StatusError):
        return error.status
    if isinstance(error, errors.WintergardenError):
        code = next((STATUS[c] for c in type(error).__mro__ if c in STATUS), None)
        if code is not None:
            if isinstance(error, errors.Overloaded):
                return _overloaded(code, error.message, error.reason, error.retry_after_s)
            message = _clip(error.message)
            field = error.field if isinstance(error, errors.InvalidArgument) else ""
            details = _details(code, message, reason=error.reason, field=field)
            return Status(code, message, ((DETAILS_KEY, details),))
    trace = secrets.token_hex(8)
    _log.error("internal error", trace=trace, method=method, exc_info=error)
    message, code = f"internal error (trace {trace})", grpc.StatusCode.INTERNAL
    details = _details(code, message, reason="INTERNAL", metadata={"trace": trace})
    return Status(code, message, ((DETAILS_KEY, details),))


@lru_cache(256)  # the same each time, and to refuse must cost little
def _overloaded(code: grpc.StatusCode, message: str, reason: str, retry_after_s: float) -> Status:
    message = _clip(message)
    details = _details(code, message, reason=reason, retry_after_s=retry_after_s)
    return Status(code, message, ((DETAILS_KEY, details),))


def _clip(message: str) -> str:
    """What of a message fits `MAX_MESSAGE_BYTES` once grpc-message has escaped it."""
    if 3 * len(message.encode()) <= MAX_MESSAGE_BYTES:
        return message
    length = 0
    for at, character in enumerate(message):
        plain = " " <= character <= "~" and character != "%"
        length += 1 if plain else 3 * len(character.encode())
        if length > MAX_MESSAGE_BYTES - 3 * len("…".encode()):
            return message[:at] + "…"
    return message


def _details(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str,
    field: str = "",
    retry_after_s: float | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    details = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {})]
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())
