"""grpc.health.v1 over our own routes, so that it works alike on every transport.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from wintergarden.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from wintergarden.service.transport.call import Call
    from wintergarden.service.transport.route import Route

SERVICE = "grpc.health.v1.Health"
WHOLE_SERVER = ""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """What a server says about itself: the whole serves when each of its services does."""

    def __init__(self, services: Sequence[str]) -> None:
        self._changed = threading.Condition()
        self._serving = dict.fromkeys(services, False)
        self._is_draining = False

    def set_serving(self, service: str, is_serving: bool) -> None:
        """Set one service, or with the name "" all of them."""
        with self._changed:
            if service == WHOLE_SERVER:
                self._serving = dict.fromkeys(self._serving, is_serving)
            elif service in self._serving:
                self._serving[service] = is_serving
            else:
                raise ValueError(f"no service {service!r}; there are {sorted(self._serving)}")
            self._changed.notify_all()

    def drain(self) -> None:
        """NOT_SERVING from now on, whatever is set later."""
        with self._changed:
            self._is_draining = True
            self._changed.notify_all()

    def is_serving(self, service: str = WHOLE_SERVER) -> bool:
        return bool(self._status(service) == _SERVING)

    def routes(self) -> list[Route]:
        from wintergarden.service.transport.route import Route

        return [
            Route(f"/{SERVICE}/Check", self._check, is_inline=True, is_vital=True),
            Route(f"/{SERVICE}/Watch", self._watch, streams=True),
        ]

    def _status(self, service: str) -> Any:
        if service != WHOLE_SERVER and service not in self._serving:
            return _SERVICE_UNKNOWN
        asked = self._serving.values() if service == WHOLE_SERVER else [self._serving[service]]
        return _SERVING if all(asked) and not self._is_draining else _NOT_SERVING

    def _check(self, call: Call) -> None:
        service = _parse(call)
        status = self._status(service)
        if status == _SERVICE_UNKNOWN:
            raise NotFound(f"no service {service!r}; there are {sorted(self._serving)}")
        call.respond(_response(status))

    def _watch(self, call: Call) -> None:
        service = _parse(call)
        call.on_cancel(self._wake)
        told = None
        while not call.is_cancelled:
            status = self._status(service)
            if status != told:
                call.send(_response(status))
                told = status
            if self._is_draining:
                break  # the last status has been told; a watcher must not hold up the drain
            with self._changed:
                if (
                    self._status(service) == told
                    and not self._is_draining
                    and not call.is_cancelled
                ):
                    self._changed.wait(call.time_remaining_s)
        call.end()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _parse(call: Call) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(call.payload).service)
    except DecodeError as error:
        raise InvalidArgument("the request is not a grpc.health.v1.HealthCheckRequest") from error


def _response(status: Any) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())
