"""gRPC statuses to the errors of `wintergarden.errors`."""

from __future__ import annotations

import re
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wintergarden import errors
from wintergarden.errors import WintergardenError


class ServerFault(WintergardenError):
    """A fault of the server. `trace_id` finds it in the server's log; empty if none was given."""

    def __init__(self, message: str, trace_id: str = "") -> None:
        super().__init__(message)
        self.trace_id = trace_id


# The most exact type by the reason in ErrorInfo; the code is for servers that send none.
BY_REASON: dict[str, type[WintergardenError]] = {
    cls("").reason: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, WintergardenError) and cls is not WintergardenError
}
BY_CODE: dict[grpc.StatusCode, type[WintergardenError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.DATA_LOSS: errors.DataLoss,
}
_TRACE = re.compile(r"\(trace ([^)]+)\)")


def from_rpc_error(rpc_error: Any) -> WintergardenError:
    """The error that the server raised, as far as its status tells.

    Args:
        rpc_error: what grpc or grpc.aio raised.
    """
    error = _translated(rpc_error)
    error.__cause__ = rpc_error
    return error


def _translated(rpc_error: Any) -> WintergardenError:
    message = rpc_error.details() or rpc_error.code().name
    details = _details(rpc_error)
    info = details.get("google.rpc.ErrorInfo")
    by_code = BY_CODE.get(rpc_error.code())
    cls = BY_REASON.get(info.reason, by_code) if info else by_code
    if cls is None:
        trace = _TRACE.search(message)
        return ServerFault(message, trace.group(1) if trace else "")
    error = cls(message)
    if isinstance(error, errors.InvalidArgument) and (bad := details.get("google.rpc.BadRequest")):
        error.field = bad.field_violations[0].field if bad.field_violations else ""
    if isinstance(error, errors.Overloaded) and (retry := details.get("google.rpc.RetryInfo")):
        error.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return error


def _details(rpc_error: Any) -> dict[str, Any]:
    """The packed google.rpc details by type name; empty where there are none we can read."""
    try:
        status = rpc_status.from_call(rpc_error)
    except ValueError:  # details that contradict the status: some proxy rewrote one of them
        return {}
    found: dict[str, Any] = {}
    for packed in status.details if status else ():
        name = packed.TypeName()
        if cls := getattr(error_details_pb2, name.removeprefix("google.rpc."), None):
            message = cls()
            packed.Unpack(message)
            found[name] = message
    return found
