"""The grpcio transport: grpc.aio on an event loop of its own, in a thread.

Slower than the native one, and stricter: it refuses a long request before reading it whole.
Handlers run on the same threads as under the native transport, never on the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import grpc
import grpc.aio

from wintergarden.service.errors import Status
from wintergarden.service.health import Health
from wintergarden.service.transport.admission import Admission
from wintergarden.service.transport.call import Call
from wintergarden.service.transport.dispatch import Dispatcher, guarded
from wintergarden.service.transport.drain import drain
from wintergarden.service.transport.grpcio_call import Answer, GrpcioCall
from wintergarden.service.transport.grpcio_stream import GrpcioBidirectionalCall
from wintergarden.service.transport.loop_queue import LoopQueue
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.reflection import reflection_handlers
from wintergarden.service.transport.route import Route
from wintergarden.service.transport.server import Server, bound_address

T = TypeVar("T")


class GrpcioServer(Server):
    def __init__(
        self,
        routes: Sequence[Route],
        addresses: Sequence[str],
        options: ServerOptions,
        services: Sequence[str],
    ) -> None:
        self.health = Health(services)
        self._options = options
        served = [*self.health.routes(), *routes]
        self._dispatcher = Dispatcher(served, options.workers, options.max_streams)
        self._admission = Admission(options, served)
        self._ids = itertools.count()
        self._stop_lock = threading.Lock()
        self._stopped = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._loop_queue = LoopQueue(self._loop)
        self._arrived: list[Call] = []  # for inline handlers
        self._thread = threading.Thread(target=self._run_loop, name="grpcio", daemon=True)
        self._thread.start()
        self._wanted = list(addresses)
        self._ports: list[int] = []
        self._sockets = [Path(a.removeprefix("unix:")) for a in addresses if a.startswith("unix:")]
        try:
            self._server = self._await(self._bind(served, addresses, services))
        except BaseException:
            self._end_loop()
            raise

    @property
    def ports(self) -> list[int]:
        return self._ports

    @property
    def addresses(self) -> list[str]:
        return [bound_address(*bound) for bound in zip(self._wanted, self._ports, strict=True)]

    @property
    def admissions(self) -> list[Admission]:
        return [self._admission]

    def start(self) -> None:
        self._dispatcher.start()
        self._await(self._server.start())
        for socket in self._sockets:
            socket.chmod(0o600)

    def stop(self, grace_s: float) -> None:
        with self._stop_lock:
            if self._stopped.is_set():
                return
            drain(
                self.health,
                self.admissions,
                self._dispatcher.routes,
                grace_s,
                self._options.linger_s,
            )
            self._await(self._server.stop(self._options.linger_s))
            self._dispatcher.stop()
            self._end_loop()
            self._stopped.set()

    def wait(self) -> None:
        self._stopped.wait()

    async def _bind(
        self, served: Sequence[Route], addresses: Sequence[str], services: Sequence[str]
    ) -> grpc.aio.Server:
        server = grpc.aio.server(
            migration_thread_pool=ThreadPoolExecutor(8, thread_name_prefix="reflection"),
            handlers=[_Routes(self, served), *reflection_handlers(services)],
            options=[
                ("grpc.max_receive_message_length", self._options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", self._options.max_concurrent_streams),
                ("grpc.so_reuseport", int(self._options.reuse_port)),
                # It resets streams that clients opened in good faith (measured with grpcio 1.81:
                # most of a burst of 1 500 calls came back UNAVAILABLE).
                ("grpc.http.overload_protection", 0),
            ],
        )
        for address in addresses:
            try:
                port = server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"{address}: {error}") from error
            self._ports.append(0 if address.startswith("unix:") else port)
        return server

    async def serve_unary(self, route: Route, payload: bytes, context: Any) -> bytes:
        answer = await self._serve(route, payload, context)
        return answer.payload

    async def serve_stream(self, route: Route, payload: bytes, context: Any) -> None:
        await self._serve(route, payload, context)

    async def _serve(self, route: Route, payload: bytes, context: Any) -> Answer:
        call = await self._accept(route, payload, context)
        answer = await self._answer(call)
        await _finish(context, answer)
        return answer

    async def serve_bidirectional(self, route: Route, context: Any) -> None:
        call = await self._accept_bidirectional(route, context)
        reading = self._loop.create_task(call.read_messages())
        try:
            answer = await call.write_messages()
        except BaseException:  # grpcio raises several things when the client has gone
            call.cancel()
            raise
        finally:
            reading.cancel()
        await _finish(context, answer)

    async def _accept(self, route: Route, payload: bytes, context: Any) -> GrpcioCall:
        admission = self._admission
        if refusal := admission.refusal(route, payload):
            await _abort(context, refusal)
        call = GrpcioCall(
            self._loop_queue,
            context,
            admission.streams if route.streams else admission.calls,
            next(self._ids),
            route.path,
            payload,
            _metadata(context),
            context.peer(),
            _deadline(context),
        )
        admission.accepted[route.path] += 1
        if route.is_vital:
            guarded(route.handler, call)
        elif route.is_inline:
            if not self._arrived:
                self._loop.call_soon(self._hand_over)
            self._arrived.append(call)
        else:
            self._dispatcher.submit(route, call)
        return call

    def _hand_over(self) -> None:
        """What has arrived in one turn of the loop goes together: it wakes a thread."""
        arrived, self._arrived = self._arrived, []
        self._dispatcher.submit_inline(arrived)

    async def _accept_bidirectional(self, route: Route, context: Any) -> GrpcioBidirectionalCall:
        admission = self._admission
        if refusal := admission.refusal(route):
            await _abort(context, refusal)
        call = GrpcioBidirectionalCall(
            self._loop_queue,
            context,
            admission.streams,
            next(self._ids),
            route.path,
            _metadata(context),
            context.peer(),
            _deadline(context),
            self._options,
        )
        admission.accepted[route.path] += 1
        if admission.is_draining:  # since it was asked
            call.stop_reading()
        self._dispatcher.submit(route, call)
        return call

    async def _answer(self, call: GrpcioCall) -> Answer:
        try:
            return await call.answer
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Routes(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Finds the handler of a path; without serializers, so bytes in and bytes out."""

    def __init__(self, server: GrpcioServer, routes: Sequence[Route]) -> None:
        self._handlers = {route.path: _handler(server, route) for route in routes}

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def _handler(server: GrpcioServer, route: Route) -> Any:
    if route.is_bidirectional:

        async def both_ways(_: Any, context: Any) -> None:
            await server.serve_bidirectional(route, context)

        return grpc.stream_stream_rpc_method_handler(both_ways)

    if route.streams:

        async def stream(payload: bytes, context: Any) -> None:
            await server.serve_stream(route, payload, context)

        return grpc.unary_stream_rpc_method_handler(stream)

    async def unary(payload: bytes, context: Any) -> bytes:
        return await server.serve_unary(route, payload, context)

    return grpc.unary_unary_rpc_method_handler(unary)


def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in context.invocation_metadata() or ())


def _deadline(context: Any) -> float | None:
    remaining_s = context.time_remaining()
    return None if remaining_s is None else monotonic() + remaining_s


async def _finish(context: Any, answer: Answer) -> None:
    """What follows the messages: the headers if none went yet, the trailers, the status."""
    if isinstance(answer.status, Status):
        await _abort(context, answer.status)
    if answer.initial_metadata:
        await context.send_initial_metadata(answer.initial_metadata)
    context.set_trailing_metadata(answer.trailing_metadata)


async def _abort(context: Any, status: Status) -> None:
    await context.abort(status.code, status.message, status.trailing_metadata)
