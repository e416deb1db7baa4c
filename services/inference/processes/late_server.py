"""A server that is not bound before its process knows all that its siblings know.

The kernel spreads connections over whoever listens at the port, ready or not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from wintergarden.service.health import Health
from wintergarden.service.transport import Server
from wintergarden.service.transport.admission import Admission


class LateServer(Server):
    """`start` does nothing; `begin` binds and answers."""

    def __init__(
        self, create: Callable[[], Server], addresses: Sequence[str], services: Sequence[str]
    ) -> None:
        self._create = create
        self._addresses = list(addresses)
        self._health = Health(services)
        self._server: Server | None = None
        self._is_stopped = threading.Event()
        self._beginning = threading.Lock()

    def begin(self) -> None:
        with self._beginning:
            if not self._is_stopped.is_set():
                self._server = self._create()
                self._server.start()

    @property
    def health(self) -> Health:  # type: ignore[override]  # until there is another
        return self._health if self._server is None else self._server.health

    @property
    def ports(self) -> list[int]:
        return [] if self._server is None else self._server.ports

    @property
    def addresses(self) -> list[str]:
        return self._addresses if self._server is None else self._server.addresses

    @property
    def admissions(self) -> list[Admission]:
        return [] if self._server is None else self._server.admissions

    def start(self) -> None:
        """Only `begin` does."""

    def stop(self, grace_s: float) -> None:
        with self._beginning:
            self._is_stopped.set()
        if self._server is not None:
            self._server.stop(grace_s)

    def wait(self) -> None:
        self._is_stopped.wait()
        if self._server is not None:
            self._server.wait()
