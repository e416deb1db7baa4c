"""A call of the grpcio transport: answered through a future of the event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from wintergarden.errors import Cancelled
from wintergarden.service.errors import Metadata, Status
from wintergarden.service.transport.call import Call
from wintergarden.service.transport.loop_queue import LoopQueue
from wintergarden.service.transport.open_call import OpenCall, OpenCalls


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended; `status` is None when it ended well."""

    payload: bytes = b""
    status: Status | None = None
    initial_metadata: Metadata | None = None
    trailing_metadata: Metadata = ()


class GrpcioCall(OpenCall, Call):
    __slots__ = ("_context", "_loop_queue", "answer")

    def __init__(  # noqa: PLR0917  keywords cost time, once per call
        self,
        loop_queue: LoopQueue,
        context: Any,
        open_calls: OpenCalls,
        call_id: int,
        method: str,
        payload: bytes,
        metadata: tuple[tuple[str, str | bytes], ...],
        peer: str,
        deadline: float | None,
    ) -> None:
        self._loop_queue = loop_queue
        self._context = context
        self.answer: asyncio.Future[Answer] = loop_queue.loop.create_future()
        OpenCall.__init__(self, open_calls, call_id, method, payload, metadata, peer, deadline)

    def respond(self, payload: bytes, trailing_metadata: Metadata = ()) -> None:
        if self._claim():
            self._settle(Answer(payload, None, self._initial_metadata, trailing_metadata))

    def send(self, payload: bytes) -> None:
        if self._is_gone:
            raise Cancelled("the client has gone")
        try:
            asyncio.run_coroutine_threadsafe(self._write(payload), self._loop_queue.loop).result()
        except Exception as error:  # which one depends on when grpcio noticed
            raise Cancelled("the client has gone") from error

    def end(self, trailing_metadata: Metadata = ()) -> None:
        if self._claim():
            self._settle(Answer(b"", None, self._initial_metadata, trailing_metadata))

    def _fail(self, status: Status) -> None:
        self._settle(Answer(status=status))

    async def _write(self, payload: bytes) -> None:
        if self._initial_metadata is not None:
            metadata, self._initial_metadata = self._initial_metadata, None
            await self._context.send_initial_metadata(metadata)
        await self._context.write(payload)

    def _settle(self, answer: Answer) -> None:
        self._loop_queue.put(self._set, answer)

    def _set(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
