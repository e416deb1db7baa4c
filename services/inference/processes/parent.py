"""The parent of several processes: it serves no client itself, and decides for all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import sleep

from prometheus_client import CollectorRegistry

from services.inference.processes import paths
from services.inference.processes.children import Children
from services.inference.processes.coordinator import Coordinator
from services.inference.processes.link import Link
from services.inference.processes.member import child_socket, parent_socket
from services.inference.processes.metrics import SumCollector
from services.inference.processes.watchdog import Watchdog
from services.inference.protocol.metadata import SERVICE
from services.inference.settings import InferenceSettings
from services.inference.sources import open_source
from wintergarden.errors import FailedPrecondition, InvalidArgument, Unavailable
from wintergarden.service.addresses import UNIX, split
from wintergarden.service.errors import StatusError
from wintergarden.service.health import Health
from wintergarden.service.transport import Server, ServerOptions, create_server
from wintergarden.service.transport.admission import Admission

VARIABLE = "WINTERGARDEN_INFERENCE_PROCESS"  # JSON for a child: its place, and the settings
# More than a child itself can have under way here, a few loads and looks: a call that waits for
# another must not keep the call that it waits for from a thread. What its clients ask for waits
# on threads of the coordinator's.
_WORKERS_PER_CHILD = 64
_LOOK_S = 0.05


class Parent:
    """An app as `wintergarden.service.lifecycle` runs it."""

    def __init__(self, settings: InferenceSettings) -> None:
        if settings.address.startswith(UNIX):
            raise InvalidArgument(
                f"{settings.address}: processes share a TCP port; give --address host:port, or "
                "--processes 1"
            )
        self._settings = settings
        self._failure = ""
        self._reservation = _reserve(settings.address)
        host = settings.address.rpartition(":")[0]
        self._address = f"{host}:{self._reservation.getsockname()[1]}"
        self._folder = Path(tempfile.mkdtemp(prefix="wintergarden-"))
        self._coordinator = Coordinator(
            open_source(settings.store_uri, settings.repository_kind),
            self._link,
            processes=settings.processes,
            is_explicit=settings.model_control == "explicit",
            look_interval_s=settings.poll_interval_s,
        )
        self._children = Children(
            settings.processes,
            self._describe,
            on_end=self._coordinator.members.remove,
            has_begun=lambda: self._coordinator.has_begun,
            on_failure=self._fail,
        )
        self._watchdog = Watchdog(self._coordinator.members, self._children.kill)
        self._private = create_server(
            self._coordinator.routes(),
            [f"unix:{parent_socket(self._folder)}"],
            ServerOptions(
                transport="grpcio",
                max_request_bytes=settings.max_request_bytes,
                max_queued_bytes=max(256 * 2**20, settings.max_request_bytes),
                workers=_WORKERS_PER_CHILD * settings.processes,
                linger_s=0.0,
            ),
        )
        self.server: Server = _Shared(self._address, self._coordinator)
        self.metrics = CollectorRegistry()
        self.metrics.register(SumCollector(self._coordinator.members, self._children.pids))

    def start(self) -> None:
        """Returns when every process answers, ready or not."""
        self._private.start()
        self._children.start()
        for process in range(self._settings.processes):
            while not self._failure and not self._is_there(process):
                sleep(_LOOK_S)
        if self._failure:
            self.stop(0)
        self._watchdog.start()

    def stop(self, grace_s: float) -> None:
        """All processes drain at once.

        Raises:
            FailedPrecondition: they have never answered.
        """
        self._watchdog.stop()
        self._children.stop(grace_s)
        self._coordinator.stop()
        self._private.stop(0)
        self._reservation.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._failure:
            raise FailedPrecondition(self._failure)

    def _is_there(self, process: int) -> bool:
        link = self._link(process)
        try:
            link.call(paths.METRICS)
        except (Unavailable, StatusError):
            return False
        finally:
            link.close()
        return True

    def _link(self, process: int) -> Link:
        return Link(f"process {process}", child_socket(self._folder, process))

    def _describe(self, process: int, is_late: bool) -> tuple[list[str], Mapping[str, str]]:
        settings = self._settings.model_dump(mode="json") | {
            "address": self._address,
            "metrics_address": None,
            # A Unix socket cannot be shared.
            "socket": self._settings.socket and str(self._settings.socket)
            if process == 0
            else None,
        }
        place = {"process": process, "folder": str(self._folder), "is_late": is_late}
        told = json.dumps({"place": place, "settings": settings})
        return [sys.executable, "-m", "services.inference.processes"], {VARIABLE: told}

    def _fail(self, reason: str) -> None:
        """What keeps one from starting keeps all."""
        self._failure = reason
        os.kill(os.getpid(), signal.SIGTERM)


class _Shared(Server):
    """What is known in the parent of the server that its children are."""

    def __init__(self, address: str, coordinator: Coordinator) -> None:
        self._address = address
        self.health = _TogetherHealth(coordinator)

    @property
    def ports(self) -> list[int]:
        return [split(self._address)[1]]

    @property
    def addresses(self) -> list[str]:
        return [self._address]

    @property
    def admissions(self) -> list[Admission]:
        return []  # each child has its own

    def start(self) -> None:
        """The children do."""

    def stop(self, grace_s: float) -> None:
        """The children do."""

    def wait(self) -> None:
        """The children do."""


class _TogetherHealth(Health):
    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__([SERVICE])
        self._coordinator = coordinator

    def is_serving(self, service: str = "") -> bool:
        return self._coordinator.is_ready


def _reserve(address: str) -> socket.socket:
    """A socket that holds the port for the children, and never listens.

    Raises:
        OSError: somebody else serves there; several children could not tell.
    """
    host, port = split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        raise OSError(f"{address}: {error.strerror}") from error
    return held
