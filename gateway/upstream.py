"""Calls handed on to another server as raw bytes: nothing is parsed, everything is kept.

Unary calls, which are many, share a thread with an asyncio loop and several connections to the
server, since one HTTP/2 connection is served by one thread there; streams, which are few, have a
thread each anyway. Deadlines, cancellation, metadata both ways, the status and its details pass
through. A call that the server could not take (UNAVAILABLE) is sent again while its time lasts
and as long as no byte of its answer has come.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio

from wintergarden.errors import Unavailable
from wintergarden.service.errors import Status, StatusError
from wintergarden.service.transport import BidirectionalCall, Call, Route, bidirectional
from wintergarden.service.transport.call import CallContext
from wintergarden.wire.pool import Method, methods

# Of the transport, not of the caller: each side makes its own.
_OWN_METADATA = frozenset({"te", "content-type", "user-agent"})

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # or equal channels share one connection
    ("grpc.enable_retries", 0),
    # A restarted server is found again quickly.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

Send = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Retry:
    """How often UNAVAILABLE is tried again, and how long between: `base_delay_s * 2**n`."""

    attempts: int = 4
    base_delay_s: float = 0.05


class Upstream:
    """A server that answers some of our methods.

    Args:
        name: what to call it in errors.
        target: `host:port` or `unix:/path`.
        connections: to spread calls over.
        retry: of UNAVAILABLE.
    """

    def __init__(
        self, name: str, target: str, connections: int = 4, retry: Retry | None = None
    ) -> None:
        self._name = name
        self._target = target
        self._connections = connections
        self._retry = retry or Retry()
        self._sends: dict[str, itertools.cycle[Send]] = {}
        self._channels: list[grpc.aio.Channel] = []
        self._stream_channel: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"to {name}", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self, service: str, without: Collection[str] = ()) -> list[Route]:
        """A route for each method of the service, but for those named."""
        return [
            self._route(method)
            for method in methods(service).values()
            if method.name not in without
        ]

    def _route(self, method: Method) -> Route:
        if method.is_client_streaming:
            return bidirectional(method.service, method.name, self._forward_both_ways)
        if method.is_server_streaming:
            return Route(method.path, self._forward_stream, streams=True)
        return Route(method.path, self._forward_one, is_inline=True, batch_handler=self.forward)

    def start(self) -> None:
        self._stream_channel = grpc.insecure_channel(self._target, _OPTIONS)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result()

    def stop(self) -> None:
        """Close the connections; calls still under way end UNAVAILABLE."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._stream_channel.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forward(self, calls: Sequence[Call]) -> None:
        """Hand calls on; each is answered when its answer comes."""
        self._loop.call_soon_threadsafe(self._begin, calls)

    def _forward_one(self, call: Call) -> None:
        self.forward([call])

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _connect(self) -> None:
        self._channels = [
            grpc.aio.insecure_channel(self._target, options=_OPTIONS)
            for _ in range(self._connections)
        ]

    async def _disconnect(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, calls: Sequence[Call]) -> None:
        for call in calls:
            task = self._loop.create_task(self._answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            call.on_cancel(partial(self._loop.call_soon_threadsafe, task.cancel))

    async def _answer(self, call: Call) -> None:
        try:
            await self._exchange(call)
        except asyncio.CancelledError:
            pass  # the caller has gone
        except grpc.aio.AioRpcError as error:
            call.fail(self._error(error))
        except Exception as error:
            call.fail(error)

    async def _exchange(self, call: Call) -> None:
        metadata = _passed_on(call)
        for attempt in itertools.count(1):
            sent = self._send(call.method)(
                call.payload, metadata=metadata, timeout=call.time_remaining_s
            )
            try:
                payload = await sent
            except grpc.aio.AioRpcError as error:
                if not self._may_retry(error, call, attempt):
                    raise
                await asyncio.sleep(self._delay_s(attempt))
                continue
            if initial := tuple(await sent.initial_metadata()):
                call.send_initial_metadata(initial)
            call.respond(payload, tuple(await sent.trailing_metadata()))
            return

    def _send(self, path: str) -> Any:
        if path not in self._sends:
            self._sends[path] = itertools.cycle(
                [channel.unary_unary(path) for channel in self._channels]
            )
        return next(self._sends[path])

    def _forward_stream(self, call: Call) -> None:
        method = self._stream_channel.unary_stream(call.method)
        metadata = _passed_on(call)
        for attempt in itertools.count(1):
            has_begun = False
            stream = method(call.payload, metadata=metadata, timeout=call.time_remaining_s)
            call.on_cancel(stream.cancel)
            try:
                for payload in stream:
                    if not has_begun:
                        call.send_initial_metadata(tuple(stream.initial_metadata()))
                        has_begun = True
                    call.send(payload)
                call.end(tuple(stream.trailing_metadata() or ()))
                return
            except grpc.RpcError as error:
                if call.is_gone:
                    return
                if has_begun or not self._may_retry(error, call, attempt):
                    raise self._error(error) from error
                time.sleep(self._delay_s(attempt))

    def _forward_both_ways(self, call: BidirectionalCall) -> None:
        """Not tried again: what the client has said is not kept."""
        stream = self._stream_channel.stream_stream(call.method)(
            call.messages(), metadata=_passed_on(call), timeout=call.time_remaining_s
        )
        call.on_cancel(stream.cancel)
        try:
            call.send_initial_metadata(tuple(stream.initial_metadata()))
            for payload in stream:
                call.wait_writable()
                call.send(payload)
        except grpc.RpcError as error:
            raise self._error(error) from error
        call.end(tuple(stream.trailing_metadata() or ()))

    def _may_retry(self, error: Any, call: Call, attempt: int) -> bool:
        remaining_s = call.time_remaining_s
        return (
            error.code() is grpc.StatusCode.UNAVAILABLE
            and attempt < self._retry.attempts
            and (remaining_s is None or remaining_s > self._delay_s(attempt))
        )

    def _delay_s(self, attempt: int) -> float:
        return self._retry.base_delay_s * float(2 ** (attempt - 1))

    def _error(self, error: Any) -> Exception:
        """Its status as it came; but where nobody answered, who it was that did not."""
        trailing = tuple(error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.UNAVAILABLE and not trailing:
            return Unavailable(f"the {self._name} service at {self._target} does not answer")
        return StatusError(Status(error.code(), error.details() or "", trailing))


def _passed_on(call: CallContext) -> tuple[tuple[str, str | bytes], ...]:
    """The caller's metadata without what belongs to its connection to us."""
    return tuple(
        (key, value)
        for key, value in call.metadata
        if key not in _OWN_METADATA and not key.startswith(("grpc-", ":"))
    )
