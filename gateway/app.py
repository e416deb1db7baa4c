"""Puts the gateway together: which calls it answers itself, and where the others go."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway import admin, datasets, models, training
from gateway.catalogue import Catalogue
from gateway.datasets import DatasetsServicer
from gateway.explanation import SERVICE as EXPLANATION
from gateway.explanation import SUBMIT, ExplanationServicer
from gateway.job_files import JobFilesServicer
from gateway.models import ModelsServicer
from gateway.settings import GatewaySettings
from gateway.training import TrainingServicer
from gateway.uploads import Uploads
from gateway.upstream import Upstream
from wintergarden.jobs import Jobs
from wintergarden.service.transport import ServerOptions, create_server
from wintergarden.store import open_store
from wintergarden.store.datasets import open_datasets
from wintergarden.store.job_files import job_file_reader

INFERENCE = admin.SERVICE


class App:
    """The gateway: bound when made, answering from `start` until `stop` returns.

    It is ready as soon as it answers. What is behind it may be down: calls that need it are
    UNAVAILABLE meanwhile, all others are not.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.metrics = CollectorRegistry()
        self._opened = ExitStack()
        jobs = self._opened.enter_context(
            Jobs(
                settings.redis_url.get_secret_value(),
                max_attempts=settings.max_attempts,
                max_queued=settings.max_queued,
                read_archive=job_file_reader(settings.store_uri),
            )
        )
        upload_dir = self._upload_dir(settings)
        uploads = Uploads(upload_dir, settings.max_upload_bytes)
        stored = open_datasets(settings.store_uri)
        catalogue = Catalogue(jobs, stored)
        models_store = open_store(settings.store_uri)
        files = Uploads(upload_dir / "datasets", settings.max_dataset_bytes)
        routes = [
            *TrainingServicer(jobs, catalogue).routes(),
            *DatasetsServicer(jobs, stored, files, catalogue).routes(),
            *JobFilesServicer(training.SERVICE, jobs, settings.store_uri).routes(),
            *ModelsServicer(models_store, uploads).routes(),
            *ExplanationServicer(jobs, models_store, settings.store_uri).routes(),
        ]
        explanation = Upstream("explanation", settings.explanation, settings.upstream_connections)
        routes += explanation.routes(EXPLANATION, without={SUBMIT})
        self._upstreams = [explanation]
        refused = frozenset() if settings.admin_calls else admin.ADMIN_CALLS
        if refused:
            routes += admin.refusals()
        # On one host, whatever has no route here goes from Rust to Rust, past Python.
        socket = settings.inference_socket if settings.transport == "native" else None
        if socket is None:
            inference = Upstream("inference", settings.inference, settings.upstream_connections)
            routes += inference.routes(INFERENCE, without=refused)
            self._upstreams.append(inference)
        self.server = create_server(
            routes,
            [settings.address],
            ServerOptions(
                transport=settings.transport, max_request_bytes=settings.max_request_bytes
            ),
            services=[
                training.SERVICE,
                datasets.SERVICE,
                models.SERVICE,
                EXPLANATION,
                INFERENCE,
            ],
            fallback_socket=None if socket is None else str(socket),
        )

    def start(self) -> None:
        for upstream in self._upstreams:
            upstream.start()
        self.server.start()
        self.server.health.set_serving("", True)

    def stop(self, grace_s: float) -> None:
        """Answer what is under way, for at most `grace_s` seconds, and close."""
        self.server.stop(grace_s)
        for upstream in self._upstreams:
            upstream.stop()
        self._opened.close()

    def _upload_dir(self, settings: GatewaySettings) -> Path:
        if settings.upload_dir is not None:
            return settings.upload_dir
        temporary = tempfile.TemporaryDirectory(prefix="wintergarden-uploads-")
        return Path(self._opened.enter_context(temporary))


def create_app(settings: GatewaySettings) -> App:
    """The gateway as its settings say; port 0 takes a free one, see `app.server.ports`."""
    return App(settings)
