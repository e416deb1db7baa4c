"""A call of the native transport."""

from __future__ import annotations

from pygrpc_native import NativeGrpcFront

from wintergarden.errors import Cancelled
from wintergarden.service.errors import Metadata, Status
from wintergarden.service.transport.call import Call
from wintergarden.service.transport.open_call import OpenCall, OpenCalls


class NativeCall(OpenCall, Call):
    __slots__ = ("_front",)

    def __init__(  # noqa: PLR0917  keywords cost time, once per call
        self,
        front: NativeGrpcFront,
        open_calls: OpenCalls,
        call_id: int,
        method: str,
        payload: bytes,
        metadata: tuple[tuple[str, str | bytes], ...],
        peer: str,
        deadline: float | None,
    ) -> None:
        self._front = front
        OpenCall.__init__(self, open_calls, call_id, method, payload, metadata, peer, deadline)

    def respond(self, payload: bytes, trailing_metadata: Metadata = ()) -> None:
        if self._open.pop(self._id, None) is None:  # _claim, without the call
            return
        if self._initial_metadata is None and not trailing_metadata:
            self._front.respond(self._id, payload)
        else:
            self._front.respond(self._id, payload, self._initial_metadata, trailing_metadata)

    def send(self, payload: bytes) -> None:
        if self._is_gone:
            raise Cancelled("the client has gone")
        self._flush_initial_metadata()
        if not self._front.stream_send(self._id, payload):
            raise Cancelled("the client has gone")

    def end(self, trailing_metadata: Metadata = ()) -> None:
        if self._claim():
            self._flush_initial_metadata()
            self._front.stream_end(self._id, trailing_metadata)

    def _fail(self, status: Status) -> None:
        self._front.fail(self._id, status.code.value[0], status.message, status.trailing_metadata)

    def _flush_initial_metadata(self) -> None:
        if self._initial_metadata is not None:
            self._front.stream_send_initial_metadata(self._id, self._initial_metadata)
            self._initial_metadata = None
