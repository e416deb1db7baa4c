"""The life of a service process: settings, logging, serving, SIGTERM, drain, exit 0."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import structlog
from prometheus_client import CollectorRegistry

from wintergarden.errors import WintergardenError
from wintergarden.service import logging
from wintergarden.service.metrics import MetricsServer, ServerCollector, register_process
from wintergarden.service.orphan import watch_supervisor
from wintergarden.service.settings import ServiceSettings, load
from wintergarden.service.transport import Server

_HARD_EXIT_MARGIN_S = 5.0

_log = structlog.get_logger(__name__)


class App(Protocol):
    """A service: bound when made, answering from `start` until `stop` returns."""

    @property
    def server(self) -> Server: ...
    @property
    def metrics(self) -> CollectorRegistry: ...
    def start(self) -> None: ...
    def stop(self, grace_s: float) -> None: ...


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def serve(
    module: str,
    settings_class: type[SettingsT],
    create_app: Callable[[SettingsT], App],
    arguments: Sequence[str] | None = None,
) -> None:
    """All of a room's `__main__`: returns after a clean stop, exits when it cannot start."""
    settings = load(settings_class, module, arguments)
    logging.configure(module.rsplit(".", 1)[-1], settings)
    try:
        app = create_app(settings)
        run(app, settings)
    except (WintergardenError, OSError) as error:
        # A wrong address or store: the one who starts us needs the line, not the traceback.
        sys.exit(f"{module}: {error}")


def run(app: App, settings: ServiceSettings) -> None:
    """Serve until SIGTERM, SIGINT or the end of the supervisor; then drain."""
    stop = stop_event()
    register_process(app.metrics)
    app.metrics.register(ServerCollector(app.server))
    metrics = None
    if settings.metrics_address is not None:
        metrics = MetricsServer(
            settings.metrics_address,
            app.metrics,
            lambda: "" if app.server.health.is_serving() else "not ready",
        )
    try:
        app.start()
        addresses = app.server.addresses
        _log.info(f"listening on {', '.join(addresses)}", transport=settings.transport)
        stop.wait()
        _log.info("draining", grace_s=settings.grace_s)
        _exit_hard_after(settings.grace_s + _HARD_EXIT_MARGIN_S)
        app.stop(settings.grace_s)
        _log.info("stopped")
    finally:
        if metrics is not None:
            metrics.stop()


def stop_event() -> threading.Event:
    """Set by SIGTERM, SIGINT or the end of the supervisor; a second signal ends at once."""
    stop = threading.Event()

    def ask(signum: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(128 + signum)
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)

    def orphaned() -> None:
        _log.warning("the supervisor has ended")
        stop.set()

    watch_supervisor(orphaned)
    return stop


def _exit_hard_after(seconds: float) -> None:
    """A stop that hangs must not leave a process behind."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
