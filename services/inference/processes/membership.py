"""What a server must do differently when it is one of several processes: nothing, when alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from services.inference.repository.control import Load
from services.inference.sources.source import Source
from wintergarden.service.transport import Route, Server, ServerOptions, create_server


class Membership(Protocol):
    """Where the parts of a server meet the processes beside it."""

    @property
    def suffix(self) -> str:
        """Of the files that each process has of its own."""

    def source(self, source: Source) -> Source:
        """Where to look for published versions, in place of `source`."""

    def load(self, load: Load) -> Load:
        """How to load a version, in place of `load`."""

    def create_server(
        self,
        routes: Sequence[Route],
        addresses: Sequence[str],
        options: ServerOptions,
        services: Sequence[str],
        metrics: CollectorRegistry,
    ) -> Server:
        """A server of the routes; `metrics` are those of this process."""

    def when_complete(self, become_ready: Callable[[], None]) -> Callable[[], None]:
        """What to call once every wanted model has been tried, in place of `become_ready`."""


class Alone:
    """Implements `Membership` for a server of one process."""

    suffix = ""

    def source(self, source: Source) -> Source:
        return source

    def load(self, load: Load) -> Load:
        return load

    def create_server(
        self,
        routes: Sequence[Route],
        addresses: Sequence[str],
        options: ServerOptions,
        services: Sequence[str],
        metrics: CollectorRegistry,
    ) -> Server:
        return create_server(routes, addresses, options, services=services)

    def when_complete(self, become_ready: Callable[[], None]) -> Callable[[], None]:
        return become_ready
