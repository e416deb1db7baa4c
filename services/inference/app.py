"""Puts the room together: source, repository, loader, control, servicers, server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.inference.loading.loader import Loader, LoaderOptions
from services.inference.metrics import InferenceCollector
from services.inference.processes.membership import Alone, Membership
from services.inference.processes.parent import Parent
from services.inference.protocol.administration import Administration
from services.inference.protocol.log_settings import LogSettings
from services.inference.protocol.metadata import SERVICE, Metadata
from services.inference.protocol.servicer import Servicer
from services.inference.protocol.shared_memory import Regions
from services.inference.repository.control import ModelControl
from services.inference.repository.modes import ControlOptions, create_control
from services.inference.repository.repository import Repository
from services.inference.scheduling.priorities import serve_promptly
from services.inference.scheduling.resources import ResourcePool
from services.inference.scheduling.response_cache import ResponseCache
from services.inference.scheduling.server_wide import ServerWide
from services.inference.settings import InferenceSettings
from services.inference.sources import open_source
from services.inference.tracing.sampling import Tracing
from wintergarden.service.transport import Route, ServerOptions

# A load holds one until it is done; readiness and metadata must find another.
_WORKERS = 64


class App:
    """The inference service: bound when made, answering from `start` to `stop`."""

    def __init__(self, settings: InferenceSettings, membership: Membership | None = None) -> None:
        """`membership` of a server of several processes; none for a server of one."""
        membership = membership or Alone()
        self.repository = Repository()
        self.metrics = CollectorRegistry()
        self.metrics.register(InferenceCollector(self.repository))
        self._shared = ServerWide(
            resources=ResourcePool(settings.resource_limits),
            response_cache=ResponseCache(settings.response_cache_bytes),
            tracing=Tracing(
                settings.trace_directory,
                suffix=membership.suffix,
                is_known=lambda name: bool(self.repository.of(name)),
            ),
        )
        loader = Loader(_loader_options(settings), self.repository.resolve, self._shared)
        self.control: ModelControl = create_control(
            membership.source(open_source(settings.store_uri, settings.repository_kind)),
            self.repository,
            membership.load(loader.load),
            ControlOptions(
                mode=settings.model_control,
                versions_served=settings.versions_served,
                poll_interval_s=settings.poll_interval_s,
                load_models=settings.models_at_start,
            ),
            on_complete=membership.when_complete(self._become_ready),
        )
        self.server = membership.create_server(
            self._routes(settings, membership),
            settings.addresses,
            ServerOptions(
                transport=settings.transport,
                max_request_bytes=settings.max_request_bytes,
                workers=_WORKERS,
            ),
            services=[SERVICE],
            metrics=self.metrics,
        )

    def start(self) -> None:
        """Answer at once, and be ready once every published version has been tried."""
        self.server.start()
        self.control.start()

    def stop(self, grace_s: float) -> None:
        """Answer what is under way, for at most `grace_s` seconds, and close."""
        self.control.stop()
        self.server.stop(grace_s)
        self._shared.tracing.close()

    def _routes(self, settings: InferenceSettings, membership: Membership) -> list[Route]:
        regions = Regions() if settings.system_shared_memory else None
        return [
            *Servicer(self.repository, self._shared.tracing, regions, self._shared.room).routes(),
            *Metadata(self.repository, _extensions(settings), settings.server_name).routes(),
            *Administration(
                control=self.control,
                regions=regions,
                traces=self._shared.tracing,
                log=LogSettings(settings.log_directory, suffix=membership.suffix),
            ).routes(),
        ]

    def _become_ready(self) -> None:
        for service in ("", SERVICE):
            self.server.health.set_serving(service, True)


def create_app(settings: InferenceSettings) -> App:
    """The service as its settings say; port 0 takes a free one, see `app.server.ports`."""
    return App(settings)


def create(settings: InferenceSettings) -> App | Parent:
    """The service, or the parent of the processes that are the service."""
    if settings.transport == "native":
        # grpcio's event loop, which wakes up for every message, would interrupt long runs as often.
        serve_promptly()
    return App(settings) if settings.processes == 1 else Parent(settings)


def _extensions(settings: InferenceSettings) -> list[str]:
    """Triton's names of what holds here."""
    extensions = [
        "classification", "sequence", "model_repository", "model_repository(unload_dependents)",
        "schedule_policy", "model_configuration", "binary_tensor_data", "parameters", "statistics",
        "trace", "logging",
    ]  # fmt: skip
    return [*extensions, "system_shared_memory"] if settings.system_shared_memory else extensions


def _loader_options(settings: InferenceSettings) -> LoaderOptions:
    return LoaderOptions(
        device=settings.device,
        intra_op_threads=settings.intra_op_threads,
        max_batch_rows=settings.max_batch_rows,
        max_waiting=settings.max_waiting,
        instances=settings.instances,
        inline_run_s=settings.inline_run_ms / 1e3,
        processes=settings.processes,
    )
