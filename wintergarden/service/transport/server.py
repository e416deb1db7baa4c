"""The server seam: options, life cycle, and the choice of transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from wintergarden.service.health import Health
from wintergarden.service.transport.admission import Admission
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.route import Route


class Server(ABC):
    """Serves routes at addresses. Health starts NOT_SERVING for every service."""

    health: Health

    @property
    @abstractmethod
    def ports(self) -> list[int]:
        """Bound TCP ports in the order of the addresses; 0 for a Unix socket."""

    @property
    @abstractmethod
    def addresses(self) -> list[str]:
        """Where it serves, with the ports that were bound."""

    @property
    @abstractmethod
    def admissions(self) -> list[Admission]:
        """The books of its addresses, for metrics."""

    @abstractmethod
    def start(self) -> None:
        """Begin to answer. Raises `OSError` naming the address when it cannot be bound."""

    @abstractmethod
    def stop(self, grace_s: float) -> None:
        """Drain: not ready, new calls UNAVAILABLE, finish calls in flight, linger, close.

        Blocks until closed. Calls still unanswered after `grace_s` get UNAVAILABLE.
        """

    @abstractmethod
    def wait(self) -> None:
        """Block until the server has been stopped."""


def bound_address(wanted: str, port: int) -> str:
    """`wanted` with the port that was bound, if it has one."""
    if wanted.startswith("unix:"):
        return wanted
    return f"{wanted.rpartition(':')[0]}:{port}"


def create_server(
    routes: Sequence[Route],
    addresses: Sequence[str],
    options: ServerOptions | None = None,
    *,
    services: Sequence[str] = (),
    fallback_socket: str | None = None,
) -> Server:
    """A server that is bound but does not answer yet.

    Args:
        routes: what it serves, beside health and reflection.
        addresses: `host:port` (port 0: a free one) or `unix:/path`.
        options: bounds and transport.
        services: full names of the services, for health and reflection.
        fallback_socket: path of a Unix socket where another gRPC server answers every method
            that has no route here; native transport only.
    """
    # Imported late: a process pays for the transport that it uses.
    options = options or ServerOptions()
    if options.transport == "native":
        from wintergarden.service.transport.native import NativeServer

        return NativeServer(routes, addresses, options, services, fallback_socket)
    if fallback_socket is not None:
        raise ValueError("a fallback socket needs the native transport")
    from wintergarden.service.transport.grpcio import GrpcioServer

    return GrpcioServer(routes, addresses, options, services)
