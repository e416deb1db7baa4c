"""Puts the room together: store, loader, repository, watcher, servicer, server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.inference.loader import Loader, LoaderOptions
from services.inference.metadata import SERVICE, Metadata
from services.inference.metrics import InferenceCollector
from services.inference.model_control import ModelControl
from services.inference.modes import ControlOptions, create_control
from services.inference.processes.membership import Alone, Membership
from services.inference.processes.parent import Parent
from services.inference.repository import Repository
from services.inference.servicer import Servicer
from services.inference.settings import InferenceSettings
from services.inference.sources import open_source
from wintergarden.service.transport import ServerOptions

# Of Triton's names, those that hold here.
EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "statistics")


class App:
    """The inference service: bound when made, answering from `start` to `stop`."""

    def __init__(self, settings: InferenceSettings, membership: Membership | None = None) -> None:
        """`membership` of a server of several processes; none for a server of one."""
        membership = membership or Alone()
        addresses = [settings.address]
        if settings.socket is not None:
            addresses.append(f"unix:{settings.socket}")
        self.repository = Repository()
        self.metrics = CollectorRegistry()
        self.metrics.register(InferenceCollector(self.repository))
        self.server = membership.create_server(
            [*Servicer(self.repository).routes(), *Metadata(self.repository, EXTENSIONS).routes()],
            addresses,
            ServerOptions(
                transport=settings.transport, max_request_bytes=settings.max_request_bytes
            ),
            services=[SERVICE],
            metrics=self.metrics,
        )
        source = membership.source(open_source(settings.store_uri, settings.repository_kind))
        self.control: ModelControl = create_control(
            source,
            self.repository,
            membership.load(Loader(_loader_options(settings), self.repository.resolve).load),
            ControlOptions(
                mode=settings.model_control,
                versions_served=settings.versions_served,
                poll_interval_s=settings.poll_interval_s,
                load_models=tuple(filter(None, settings.load_models.split(","))),
            ),
            on_complete=membership.when_complete(self._become_ready),
        )

    def start(self) -> None:
        """Answer at once, and be ready once every published version has been tried."""
        self.server.start()
        self.control.start()

    def stop(self, grace_s: float) -> None:
        """Answer what is under way, for at most `grace_s` seconds, and close."""
        self.control.stop()
        self.server.stop(grace_s)

    def _become_ready(self) -> None:
        for service in ("", SERVICE):
            self.server.health.set_serving(service, True)


def create_app(settings: InferenceSettings) -> App:
    """The service as its settings say; port 0 takes a free one, see `app.server.ports`."""
    return App(settings)


def create(settings: InferenceSettings) -> App | Parent:
    """The service, or the parent of the processes that are the service."""
    return App(settings) if settings.processes == 1 else Parent(settings)


def _loader_options(settings: InferenceSettings) -> LoaderOptions:
    return LoaderOptions(
        device=settings.device,
        intra_op_threads=settings.intra_op_threads,
        max_batch_rows=settings.max_batch_rows,
        max_waiting=settings.max_waiting,
        instances=settings.instances,
        inline_run_s=settings.inline_run_ms / 1e3,
    )
