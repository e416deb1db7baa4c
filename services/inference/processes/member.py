"""One of several processes: what it leaves to the parent, and what it answers the parent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from services.inference.processes import paths
from services.inference.processes.coordinator import HANDED_ON
from services.inference.processes.late_server import LateServer
from services.inference.processes.link import Link
from services.inference.processes.owner import INFER, OWNER, AtOwner
from services.inference.processes.published import ParentsSource
from services.inference.repository.control import Load
from services.inference.repository.repository import Model
from services.inference.sources.source import Source, VersionFiles
from wintergarden.errors import FailedPrecondition, Unsupported, WintergardenError
from wintergarden.service.transport import Call, Route, Server, ServerOptions, create_server
from wintergarden.wire.model_config_pb2 import ModelConfig

_WORKERS = 32

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a process stands among its siblings.

    Attributes:
        process: its number, from 0.
        folder: of the sockets between the processes.
        is_late: others answer already.
    """

    process: int
    folder: Path
    is_late: bool

    @property
    def socket(self) -> str:
        return child_socket(self.folder, self.process)


def parent_socket(folder: Path) -> str:
    return str(folder / "parent.sock")


def child_socket(folder: Path, process: int) -> str:
    return str(folder / f"child-{process}.sock")


class Member:
    """Implements `Membership`."""

    def __init__(self, place: Place, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called when this process cannot become what its siblings are."""
        self._place = place
        self._on_failure = on_failure
        self._parent = Link("the parent process", parent_socket(place.folder))
        self._owner = Link("the process that keeps sequences", child_socket(place.folder, OWNER))
        self._private: Server | None = None
        self._late: LateServer | None = None

    @property
    def suffix(self) -> str:
        return f".{self._place.process}"

    def source(self, source: Source) -> Source:
        return ParentsSource(source, self._parent, self._place.process)

    def load(self, load: Load) -> Load:
        """All processes serve a version, or none does."""

        def load_together(
            name: str, version: int, files: VersionFiles, config: ModelConfig
        ) -> Model:
            try:
                _check_sequences(name, config)
                model = load(name, version, files, config)
                is_stateful = model.configuration.HasField("sequence_batching")
                if is_stateful and self._place.process != OWNER:
                    model.scheduler.close()
                    at_owner = AtOwner(model.signature, self._owner, model.scheduler.statistics)
                    model = replace(model, scheduler=at_owner)
            except Exception as error:
                known = isinstance(error, WintergardenError)
                self._meet(name, version, str(error) if known else type(error).__name__)
                raise
            problem = self._meet(name, version, "")
            if problem:
                model.close()
                raise FailedPrecondition(f"another process could not load it: {problem}")
            return model

        return load_together

    def create_server(
        self,
        routes: Sequence[Route],
        addresses: Sequence[str],
        options: ServerOptions,
        services: Sequence[str],
        metrics: CollectorRegistry,
    ) -> Server:
        """The parent is answered by the routes; clients are, in what concerns them alone."""

        def tell_metrics(call: Call) -> None:
            call.respond(generate_latest(metrics))

        asked = {route.path: route for route in routes if route.path in HANDED_ON}
        from_siblings = [route for route in routes if route.path == INFER]
        public = [
            Route(route.path, self._hand_on) if route.path in asked else route for route in routes
        ]

        def create() -> Server:
            shared = replace(options, reuse_port=True)
            return create_server(public, addresses, shared, services=services)

        late = LateServer(create, addresses, services) if self._place.is_late else None
        server = late or create()
        # Whoever finds this one answering finds the other bound.
        self._private = create_server(
            [*asked.values(), *from_siblings, Route(paths.METRICS, tell_metrics)],
            [f"unix:{self._place.socket}"],
            replace(options, transport="grpcio", workers=_WORKERS, linger_s=0.0),
        )
        self._private.start()
        self._late = late
        return server

    def when_complete(self, become_ready: Callable[[], None]) -> Callable[[], None]:
        """Ready together with the others; a late one, once it knows what they know."""

        def join() -> None:
            try:
                self._parent.call(paths.COMPLETE, str(self._place.process).encode())
                if self._late is not None:
                    self._late.begin()
                become_ready()
            except Exception as error:
                _log.error("cannot join the other processes", error=repr(error))
                self._on_failure()

        return lambda: threading.Thread(target=join, name="joining", daemon=True).start()

    def stop(self) -> None:
        if self._private is not None:
            self._private.stop(0)
        self._owner.close()
        self._parent.close()

    def _hand_on(self, call: Call) -> None:
        call.respond(self._parent.call(call.method, call.payload, call.time_remaining_s))

    def _meet(self, name: str, version: int, problem: str) -> str:
        arrival = {
            "process": self._place.process,
            "name": name,
            "version": version,
            "problem": problem,
        }
        return self._parent.call(paths.MEET, json.dumps(arrival).encode()).decode()


def _check_sequences(name: str, config: ModelConfig) -> None:
    if config.HasField("sequence_batching") and config.model_transaction_policy.decoupled:
        raise Unsupported(
            f"model {name!r:.200} is decoupled and keeps the state of sequences; several processes "
            "do not serve both at once: start the server with --processes 1 (INFERENCE_PROCESSES)"
        )
