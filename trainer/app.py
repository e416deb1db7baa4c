"""Puts the trainer together: the worker in front, caretaker, catalogue and health beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import structlog
from celery.platforms import SecurityWarning
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainer.caretaker import Caretaker
from trainer.catalogue import Catalogue
from trainer.consumption import Consumption
from trainer.kinds import routes
from trainer.retention import Retention
from trainer.settings import Settings
from trainer.standby import Standby
from trainer.worker import Worker, terminate
from wintergarden import jobs as records
from wintergarden.errors import Unavailable
from wintergarden.jobs import Jobs
from wintergarden.service.metrics import MetricsServer, register_process
from wintergarden.service.orphan import watch_supervisor

_DEAF_ROUNDS = 6
_DEAF_FOR_GOOD_S = 120.0

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Train until SIGTERM, SIGINT or the end of the supervisor; the exit code."""
    # Containers run it as nobody; on a developer's machine the warning is noise.
    warnings.simplefilter("ignore", SecurityWarning)
    jobs = Jobs(settings.redis_url.get_secret_value())
    consumption = Consumption(settings.concurrency, _DEAF_ROUNDS * settings.rounds_s)
    catalogue = Catalogue(jobs, settings.child_arguments)
    standby = Standby(settings.child_arguments, is_warm=settings.warm)

    def read_routes() -> tuple[str, ...]:
        return routes(has_cuda=catalogue.has_cuda)

    worker = Worker(settings, jobs, consumption, standby, read_routes)
    is_deaf = False

    def describe() -> records.Worker:
        return records.Worker(
            name=settings.worker_name,
            routes=read_routes(),
            concurrency=settings.concurrency,
            running=len(consumption.jobs),
            memory_mb=settings.job_memory_mb,
            devices=catalogue.devices,
        )

    def prepare() -> None:
        # Not beside the catalogue's process: both import the same, and would slow a start.
        if catalogue.is_published and not consumption.jobs:
            standby.prepare()

    def end_if_deaf() -> None:
        nonlocal is_deaf
        if consumption.deaf_s > _DEAF_FOR_GOOD_S and not consumption.jobs:
            _log.error("no messages come although Redis answers: ending, to be started anew")
            is_deaf = True
            terminate()

    caretaker = Caretaker(
        jobs,
        catalogue,
        describe=describe,
        work_dir=settings.work_dir,
        rounds_s=settings.rounds_s,
        chores=(
            prepare,
            worker.probe,
            end_if_deaf,
            Retention(jobs, settings.store_uri, settings.keep_jobs_days, settings.sweep_s).look,
        ),
    )

    def problem() -> str:
        unpublished = "" if catalogue.is_published else "the catalogue is not published yet"
        return consumption.problem or unpublished

    metrics = None
    if settings.metrics_address is not None:
        registry = CollectorRegistry()
        register_process(registry)
        registry.register(_Collector(jobs, consumption))
        metrics = MetricsServer(settings.metrics_address, registry, problem)
    watch_supervisor(terminate)
    catalogue.start()
    caretaker.start()
    _log.info("taking jobs", worker=settings.worker_name, concurrency=settings.concurrency)
    try:
        return worker.run() or int(is_deaf)
    finally:
        caretaker.stop()
        standby.close()
        if metrics is not None:
            metrics.stop()
        jobs.close()
        _log.info("stopped")


class _Collector(Collector):
    """Asked at each scrape; nothing is counted in between."""

    def __init__(self, jobs: Jobs, consumption: Consumption) -> None:
        self._jobs = jobs
        self._consumption = consumption

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "wintergarden_jobs_running",
            "Jobs this worker runs now",
            value=len(self._consumption.jobs),
        )
        try:
            queued = self._jobs.queue_length()
        except Unavailable:
            return
        yield GaugeMetricFamily(
            "wintergarden_jobs_queued", "Jobs that wait for any worker", value=queued
        )
