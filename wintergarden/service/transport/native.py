"""The native transport: pygrpc-native speaks HTTP/2 and gRPC in Rust, outside the GIL.

    tokio threads ─▶ reader thread ─▶ dispatch thread, workers, streams ─▶ respond (any thread)

The front has an unbounded queue of its own, no size limit, and a stop that loses answers.
So for each address one reader thread does nothing but move calls into our bounded books,
refuse what is beyond them and mark what was cancelled; a stop is ours as well.
What streams both ways the front hands on, over a private socket, to grpcio.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from wintergarden.service.health import Health
from wintergarden.service.transport.admission import Admission
from wintergarden.service.transport.call import Call
from wintergarden.service.transport.dispatch import Dispatcher, guarded
from wintergarden.service.transport.drain import drain
from wintergarden.service.transport.grpcio import GrpcioServer
from wintergarden.service.transport.native_call import NativeCall
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.route import Route
from wintergarden.service.transport.server import Server, bound_address

MAX_EVENTS = 256  # taken from the front at once

_log = structlog.get_logger(__name__)


class NativeServer(Server):
    def __init__(
        self,
        routes: Sequence[Route],
        addresses: Sequence[str],
        options: ServerOptions,
        services: Sequence[str],
        fallback_socket: str | None,
    ) -> None:
        self.health = Health(services)
        self._options = options
        self._services = services
        self._fallback_socket = fallback_socket
        self._both_ways = [route for route in routes if route.is_bidirectional]
        if self._both_ways and fallback_socket is not None:
            paths = [route.path for route in self._both_ways]
            raise ValueError(f"{paths} stream both ways; with a fallback socket they go there")
        served = [*self.health.routes(), *routes]
        self._dispatcher = Dispatcher(served, options.workers, options.max_streams)
        in_front = [route for route in served if not route.is_bidirectional]
        self._listeners: list[_Listener] = []
        try:
            for address in addresses:
                self._listeners.append(_Listener(address, in_front, options, self._dispatcher))
        except OSError:
            for listener in self._listeners:
                listener.close()
            raise
        self._behind: _Behind | None = None
        self._stop_lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def ports(self) -> list[int]:
        return [listener.port for listener in self._listeners]

    @property
    def addresses(self) -> list[str]:
        return [listener.address for listener in self._listeners]

    @property
    def admissions(self) -> list[Admission]:
        behind = [] if self._behind is None else self._behind.server.admissions
        return [*(listener.admission for listener in self._listeners), *behind]

    def start(self) -> None:
        fallback = self._fallback_socket
        if fallback is None:
            self._behind = _Behind(self._both_ways, self._options, self._services)
            fallback = self._behind.socket
        self._dispatcher.start()
        for listener in self._listeners:
            listener.start(fallback)

    def stop(self, grace_s: float) -> None:
        with self._stop_lock:
            if self._stopped.is_set():
                return
            drain(
                self.health, self.admissions, self._dispatcher.routes,
                grace_s, self._options.linger_s,
            )  # fmt: skip
            for listener in self._listeners:
                listener.close()
            self._dispatcher.stop()
            if self._behind is not None:
                self._behind.stop()
            self._stopped.set()

    def wait(self) -> None:
        self._stopped.wait()


class _Behind:
    """A grpcio server at a private socket, for what the front hands on: streams both ways.

    Reflection is one, ours are the others. It has books of its own.
    """

    def __init__(
        self, routes: Sequence[Route], options: ServerOptions, services: Sequence[str]
    ) -> None:
        self._directory = tempfile.mkdtemp(prefix="wintergarden-")
        self.socket = f"{self._directory}/streams.sock"
        # Whoever drains the front drains this too, and has lingered.
        options = replace(options, linger_s=0.0)
        self.server = GrpcioServer(routes, [f"unix:{self.socket}"], options, services)
        self.server.start()

    def stop(self) -> None:
        self.server.stop(0)
        shutil.rmtree(self._directory, ignore_errors=True)


class _Listener:
    """One address: a front, its reader thread, and the calls that wait for an answer there."""

    def __init__(
        self, address: str, routes: Sequence[Route], options: ServerOptions, dispatcher: Dispatcher
    ) -> None:
        self.admission = Admission(options, routes)
        self._dispatcher = dispatcher
        self._routes = list(routes)  # by the front's method id
        self._front = NativeGrpcFront(
            address,
            [(route.path, route.streams) for route in routes],
            io_threads=options.io_threads,
            call_details=True,
            delay_stream_headers=True,
            max_concurrent_streams=options.max_concurrent_streams,
            reuse_port=options.reuse_port,
        )
        self.address = bound_address(address, self._front.bound_port)
        self._socket = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        if self._socket is not None:
            self._socket.chmod(0o600)
        self._reader = threading.Thread(target=self._read, name=f"reader {address}", daemon=True)

    @property
    def port(self) -> int:
        return 0 if self._socket is not None else self._front.bound_port

    def start(self, fallback: str) -> None:
        self._front.set_fallback(fallback)
        self._front.start()
        self._reader.start()

    def close(self) -> None:
        self._front.close()
        if self._reader.is_alive():
            self._reader.join()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _read(self) -> None:
        receive = self._front.recv_batch_details
        while (events := receive(MAX_EVENTS)) is not None:
            inline: list[Call] = []
            for event in events:
                try:
                    if event[0] == EVENT_CALL:
                        self._accept(event, inline)
                    else:
                        self._cancel(event[1])
                except Exception:
                    # The reader must outlive any one call; this one at least gets an answer.
                    _log.exception("an event could not be handled")
                    self._front.fail(event[1], 13, "internal error")
            if inline:
                self._dispatcher.submit_inline(inline)

    def _accept(self, event: Any, inline: list[Call]) -> None:
        _, call_id, method_id, payload, _, (metadata, peer, time_remaining_s) = event
        route = self._routes[method_id]
        admission = self.admission
        if refusal := admission.refusal(route, payload):
            self._front.fail(
                call_id, refusal.code.value[0], refusal.message, refusal.trailing_metadata
            )
            return
        open_calls = admission.streams if route.streams else admission.calls
        deadline = None if time_remaining_s is None else monotonic() + time_remaining_s
        call = NativeCall(
            self._front, open_calls, call_id, route.path, payload, metadata, peer, deadline
        )
        admission.accepted[route.path] += 1
        if route.is_vital:
            guarded(route.handler, call)
        elif route.is_inline:
            inline.append(call)
        else:
            self._dispatcher.submit(route, call)

    def _cancel(self, call_id: int) -> None:
        call = self.admission.calls.get(call_id) or self.admission.streams.get(call_id)
        if call is not None:
            call.cancel()
