"""A call that streams both ways, on either transport: between a loop of grpc.aio and threads.

    client ─▶ read_messages ─▶ messages()          on the handler's thread
    client ◀─ write_messages ◀─ send(), end(), fail()   from any thread

Both directions are bounded. Threads and the loop agree through queues and counters that one
side alone writes; a lock guards only what several threads send.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc.aio

from wintergarden.errors import Cancelled
from wintergarden.service.errors import Metadata, Status, StatusError
from wintergarden.service.transport.admission import DRAINING
from wintergarden.service.transport.call import BidirectionalCall
from wintergarden.service.transport.grpcio_call import Answer
from wintergarden.service.transport.loop_queue import LoopQueue
from wintergarden.service.transport.open_call import OpenCall, OpenCalls
from wintergarden.service.transport.options import ServerOptions

_READ_AHEAD = 64  # messages
_CANCELLATION_FOLLOWS_S = 0.001


class GrpcioBidirectionalCall(OpenCall, BidirectionalCall):
    """Made on the loop, which then runs `read_messages` beside `write_messages`."""

    def __init__(  # noqa: PLR0917  as the other calls
        self,
        loop_queue: LoopQueue,
        context: Any,
        open_calls: OpenCalls,
        call_id: int,
        method: str,
        metadata: tuple[tuple[str, str | bytes], ...],
        peer: str,
        deadline: float | None,
        options: ServerOptions,
    ) -> None:
        self._loop_queue = loop_queue
        self._context = context
        self._max_messages = options.max_unsent_messages
        self._max_bytes = options.max_unsent_bytes
        self._is_over = False  # by `end` or `fail`
        # Requests. None in the queue wakes the reader, who looks at the flags.
        self._incoming: SimpleQueue[bytes | None] = SimpleQueue()
        self._is_half_closed = False
        self._is_reading_stopped = False
        self._is_reader_paused = False
        self._resume = asyncio.Event()
        self._read = self._read_bytes = 0  # written by the loop
        self._taken = self._taken_bytes = 0  # written by the handler's thread
        # Answers.
        self._outgoing: deque[bytes] = deque()
        self._sending = threading.Lock()
        self._sent_bytes = 0  # written under the lock
        self._written_bytes = 0  # written by the loop
        self._answer: Answer | None = None
        self._is_awake = False
        self._wake = asyncio.Event()
        self._writable = threading.Condition()
        self._waiting = 0  # threads at the condition
        OpenCall.__init__(self, open_calls, call_id, method, b"", metadata, peer, deadline)

    def messages(self) -> Iterator[bytes]:
        incoming = self._incoming
        while self._wait_until_writable():
            message = incoming.get()
            if message is None or self._is_gone or self._is_over or self._is_reading_stopped:
                return
            self._taken += 1
            self._taken_bytes += len(message)
            if self._is_reader_paused and self._read - self._taken <= _READ_AHEAD // 2:
                self._loop_queue.put(self._resume.set)
            yield message

    def send(self, payload: bytes) -> None:
        if self._is_gone or self._is_over:
            return
        with self._sending:
            self._sent_bytes += len(payload)
        self._outgoing.append(payload)
        self._wake_writer()

    @property
    def is_clogged(self) -> bool:
        return self._sent_bytes - self._written_bytes >= self._max_bytes

    def wait_writable(self) -> None:
        if not self._wait_until_writable():
            raise Cancelled("the client has gone")

    def end(self, trailing_metadata: Metadata = ()) -> None:
        if self._is_reading_stopped and not self._is_read_to_the_end():
            self.fail(StatusError(DRAINING))
        elif self._claim():
            self._finish(Answer(trailing_metadata=trailing_metadata))

    def stop_reading(self) -> None:
        self._is_reading_stopped = True
        self._incoming.put(None)

    def cancel(self) -> None:
        OpenCall.cancel(self)
        self._release()

    def _fail(self, status: Status) -> None:
        self._finish(Answer(status=status))

    def _finish(self, answer: Answer) -> None:
        self._is_over = True
        self._answer = answer
        self._wake_writer()
        self._release()

    def _release(self) -> None:
        """Nobody need wait for this client any more."""
        self._incoming.put(None)
        with self._writable:
            self._writable.notify_all()

    def _is_writable(self) -> bool:
        return len(self._outgoing) < self._max_messages and not self.is_clogged

    def _wait_until_writable(self) -> bool:
        """False once there is nobody to write to."""
        if not self._is_writable():
            with self._writable:
                self._waiting += 1
                while not (self._is_writable() or self._is_gone or self._is_over):
                    self._writable.wait()
                self._waiting -= 1
        return not (self._is_gone or self._is_over)

    def _is_read_to_the_end(self) -> bool:
        return self._is_half_closed and self._read == self._taken

    def _wake_writer(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._loop_queue.put(self._wake.set)

    async def read_messages(self) -> None:
        """Move the client's messages to the handler until its last; runs on the loop."""
        read = self._context.read
        while (message := await read()) is not grpc.aio.EOF:
            self._read += 1
            self._read_bytes += len(message)
            self._incoming.put(message)
            if self._has_enough():
                await self._pause()
        # A client that leaves looks at first like one that has said its last.
        await asyncio.sleep(_CANCELLATION_FOLLOWS_S)
        self._is_half_closed = True
        self._incoming.put(None)

    def _has_enough(self) -> bool:
        return (
            self._read - self._taken >= _READ_AHEAD
            or self._read_bytes - self._taken_bytes >= self._max_bytes
        )

    async def _pause(self) -> None:
        self._resume.clear()
        self._is_reader_paused = True
        while self._has_enough():  # asked again, now that the flag is up
            await self._resume.wait()
            self._resume.clear()
        self._is_reader_paused = False

    async def write_messages(self) -> Answer:
        """Write what is sent until the end, and return that; runs on the loop."""
        write, outgoing = self._context.write, self._outgoing
        while True:
            while outgoing:
                await self._flush_initial_metadata()
                message = outgoing.popleft()
                await write(message)
                self._written_bytes += len(message)
                if self._waiting and self._is_writable():
                    with self._writable:
                        self._writable.notify_all()
            if self._answer is not None and not outgoing:
                if self._answer.status is None:
                    await self._flush_initial_metadata()
                return self._answer
            self._is_awake = False
            if not outgoing and self._answer is None:  # asked again, now that the flag is down
                await self._wake.wait()
            self._wake.clear()
            self._is_awake = True

    async def _flush_initial_metadata(self) -> None:
        if self._initial_metadata is not None:
            metadata, self._initial_metadata = self._initial_metadata, None
            await self._context.send_initial_metadata(metadata)
