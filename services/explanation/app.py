"""Puts the room together: store, subjects, servicer, server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.explanation.analysis import Analyst
from services.explanation.servicer import SERVICE, Servicer
from services.explanation.settings import ExplanationSettings
from services.explanation.subject import Subjects
from services.explanation.turns import Turns
from wintergarden.runtime import RuntimeOptions, available_threads
from wintergarden.service.transport import ServerOptions, create_server
from wintergarden.store import open_store


class App:
    """The explanation service: bound when made, answering from `start` to `stop`."""

    def __init__(self, settings: ExplanationSettings) -> None:
        self.metrics = CollectorRegistry()
        store = open_store(settings.store_uri)
        subjects = Subjects(store, _runtime_options(settings), settings.cache_bytes)
        analyst = Analyst(store, subjects.cache)
        turns = Turns(settings.max_running, settings.max_waiting)
        self.server = create_server(
            Servicer(subjects, analyst, turns).routes(),
            [settings.address],
            ServerOptions(
                transport=settings.transport,
                max_request_bytes=settings.max_request_bytes,
                # A thread for each request that runs or waits, and one to refuse the next.
                workers=settings.max_running + settings.max_waiting + 1,
            ),
            services=[SERVICE],
        )

    def start(self) -> None:
        """Answer, and be ready at once: models are opened when they are asked for."""
        self.server.start()
        for service in ("", SERVICE):
            self.server.health.set_serving(service, True)

    def stop(self, grace_s: float) -> None:
        """Answer what is under way, for at most `grace_s` seconds, and close."""
        self.server.stop(grace_s)


def create_app(settings: ExplanationSettings) -> App:
    """The service as its settings say; port 0 takes a free one, see `app.server.ports`."""
    return App(settings)


def _runtime_options(settings: ExplanationSettings) -> RuntimeOptions:
    half = available_threads() // (2 * settings.max_running)
    return RuntimeOptions(
        device=settings.device, intra_op_threads=settings.intra_op_threads or max(1, half)
    )
