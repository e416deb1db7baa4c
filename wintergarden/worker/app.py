"""Puts a worker together: what takes jobs in front, caretaker and health beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence

import structlog
from celery.platforms import SecurityWarning
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wintergarden import jobs as records
from wintergarden.errors import Unavailable
from wintergarden.jobs import Jobs
from wintergarden.service.addresses import TcpAddress
from wintergarden.service.metrics import MetricsServer, register_process
from wintergarden.service.orphan import watch_supervisor
from wintergarden.worker.archivist import Archivist
from wintergarden.worker.caretaker import Caretaker
from wintergarden.worker.consumption import Consumption
from wintergarden.worker.duties import Duties
from wintergarden.worker.retention import Retention
from wintergarden.worker.settings import WorkerSettings
from wintergarden.worker.standby import Standby
from wintergarden.worker.worker import Worker, terminate

_DEAF_ROUNDS = 6
_DEAF_FOR_GOOD_S = 120.0

_log = structlog.get_logger(__name__)


def run(
    settings: WorkerSettings,
    jobs: Jobs,
    duties: Duties,
    *,
    metrics_address: TcpAddress | None,
    devices: Callable[[], Sequence[str]] = lambda: ("cpu",),
    methods: Sequence[str] = (),
    chores: Sequence[Callable[[], None]] = (),
    problem: Callable[[], str] = lambda: "",
) -> int:
    """Do jobs until SIGTERM, SIGINT or the end of the supervisor; the exit code.

    Args:
        settings: of this process.
        jobs: the records.
        duties: what is done for its kinds of jobs.
        metrics_address: of metrics and health.
        devices: what it computes on, for people.
        methods: of explanations that it does, as `Worker.methods`.
        chores: what else to do each round.
        problem: what else keeps it from being healthy; also from having a process ready.
    """
    # Containers run it as nobody; on a developer's machine the warning is noise.
    warnings.simplefilter("ignore", SecurityWarning)
    consumption = Consumption(settings.concurrency, _DEAF_ROUNDS * settings.rounds_s)
    standby = Standby(settings.child_arguments, is_warm=settings.warm)
    worker = Worker(settings, jobs, consumption, standby, duties)
    is_deaf = False

    def describe() -> records.Worker:
        return records.Worker(
            name=settings.worker_name,
            routes=duties.routes,
            concurrency=settings.concurrency,
            running=len(consumption.jobs),
            memory_mb=settings.job_memory_mb,
            devices=tuple(devices()),
            methods=tuple(methods),
        )

    def prepare() -> None:
        # Not beside what solves the problem: both import the same, and would slow a start.
        if not problem() and not consumption.jobs:
            standby.prepare()

    def end_if_deaf() -> None:
        nonlocal is_deaf
        if consumption.deaf_s > _DEAF_FOR_GOOD_S and not consumption.jobs:
            _log.error("no messages come although Redis answers: ending, to be started anew")
            is_deaf = True
            terminate()

    caretaker = Caretaker(
        jobs,
        describe=describe,
        work_dir=settings.work_dir,
        rounds_s=settings.rounds_s,
        chores=(
            *chores,
            prepare,
            worker.probe,
            end_if_deaf,
            Archivist(jobs, settings.store_uri, settings.keep_events_hours * 3600.0).look,
            Retention(jobs, settings.store_uri, settings.keep_jobs_days, settings.sweep_s).look,
        ),
    )
    metrics = None
    if metrics_address is not None:
        registry = CollectorRegistry()
        register_process(registry)
        registry.register(_Collector(jobs, consumption, duties))
        metrics = MetricsServer(metrics_address, registry, lambda: consumption.problem or problem())
    watch_supervisor(terminate)
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

    def __init__(self, jobs: Jobs, consumption: Consumption, duties: Duties) -> None:
        self._jobs = jobs
        self._consumption = consumption
        self._duties = duties

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "wintergarden_jobs_running",
            "Jobs this worker runs now",
            value=len(self._consumption.jobs),
        )
        try:
            queued = self._jobs.queue_length(self._duties.routes[0])
        except Unavailable:
            return
        yield GaugeMetricFamily(
            "wintergarden_jobs_queued", "Jobs that wait for any worker", value=queued
        )
