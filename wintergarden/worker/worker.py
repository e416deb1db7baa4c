"""The Celery worker: takes messages that say "look at job X", and has the job supervised.

Threads, not processes: they only wait for a job's process each. No torch here.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

import structlog
from celery import bootsteps, signals
from celery.worker.consumer.tasks import Tasks

from wintergarden.errors import WintergardenError
from wintergarden.jobs import Attempt, Jobs, JobState
from wintergarden.jobs.broker import LOOK_AT, create_celery, queue
from wintergarden.store.job_files import open_job_files
from wintergarden.worker.consumption import Consumption
from wintergarden.worker.duties import Duties
from wintergarden.worker.leftovers import sweep_ended
from wintergarden.worker.settings import WorkerSettings
from wintergarden.worker.standby import Standby
from wintergarden.worker.supervisor import Supervision

_PROBE = "wintergarden.probe"
_PROBE_EXPIRES_S = 60.0
_WAKE_S = 0.1
_STOP_MARGIN_S = 5.0

_log = structlog.get_logger(__name__)


class Worker:
    """Runs in the main thread, whose signals Celery handles: SIGTERM gives running jobs back.

    Args:
        settings: of this process.
        jobs: the records.
        consumption: told what comes and what runs.
        standby: where processes come from.
        duties: what is done for its kinds of jobs.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        jobs: Jobs,
        consumption: Consumption,
        standby: Standby,
        duties: Duties,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._consumption = consumption
        self._standby = standby
        self._duties = duties
        self._is_stopping = threading.Event()
        duties.begin(self._is_stopping)
        self._probes = queue(f"probe.{settings.worker_name}", expires=_PROBE_EXPIRES_S)
        self._celery = create_celery(
            settings.redis_url.get_secret_value(),
            task_queues=[*map(queue, duties.possible_routes), self._probes],
            task_default_queue=self._probes.name,
            worker_concurrency=settings.concurrency,
        )
        self._celery.task(name=LOOK_AT)(self.look_at)
        self._celery.task(name=_PROBE)(consumption.taken)
        self._celery.steps["consumer"].add(_look_up_often(duties))

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; the exit code."""
        for noisy in ("celery", "kombu", "amqp"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        signals.setup_logging.connect(_keep_logging)
        signals.worker_shutting_down.connect(self._stop)
        worker = self._celery.Worker(
            pool="threads",
            concurrency=self._settings.concurrency,
            hostname=f"{self._settings.worker_name}@wintergarden",
            queues=[*self._duties.routes, self._probes.name],
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
        self._duties.join(self._settings.grace_s)
        return int(worker.exitcode or 0)

    def probe(self) -> None:
        """Send this worker a message that proves it takes messages."""
        if self._consumption.is_full:
            return
        self._celery.send_task(
            _PROBE, queue=self._probes, expires=_PROBE_EXPIRES_S, ignore_result=True, retry=False
        )

    def look_at(self, job_id: str) -> None:
        """Run the job if it waits; a doubled or late message finds nothing to do."""
        self._consumption.taken()
        try:
            if self._is_stopping.is_set():  # it was taken from the queue: others should see it
                self._jobs.send(self._jobs.get(job_id))
                return
            attempt = self._jobs.claim(
                job_id,
                self._settings.worker_name,
                self._settings.lease_s,
                self._settings.job_memory_mb,
            )
        except WintergardenError as exc:
            _log.warning("job not claimed; it will be sent again", job=job_id, error=exc.message)
            return
        if attempt is None:
            _log.info("nothing to do", job=job_id)
            return
        if self._duties.take_aside(attempt):
            return
        with self._consumption.running(attempt.job.id):
            state = self._run(attempt)
            if not self._is_stopping.is_set():
                self._standby.prepare()
        if state == JobState.QUEUED:
            self._jobs.send(attempt.job)

    def _run(self, attempt: Attempt) -> JobState | None:
        def beat() -> None:
            self._consumption.beat(attempt.job.id)

        try:
            supervision = Supervision(
                attempt,
                self._settings,
                self._standby,
                self._duties,
                is_stopping=self._is_stopping,
                beat=beat,
            )
            state = supervision.run()
        except WintergardenError as exc:
            _log.warning("the attempt is left to its lease", job=attempt.job.id, error=exc.message)
            return None
        except Exception:
            _log.exception("the supervision failed", job=attempt.job.id)
            return attempt.retry("its supervisor failed; see the worker's log")
        if state and state.is_final:
            kept = "" if state == JobState.SUCCEEDED else supervision.checkpoint
            self._sweep(attempt.job.id, kept)
        return state

    def _sweep(self, job_id: str, kept: str) -> None:
        try:
            sweep_ended(open_job_files(self._settings.store_uri, job_id), kept)
        except (WintergardenError, OSError) as exc:
            _log.warning("checkpoints stay behind for now", job=job_id, error=str(exc))

    def _stop(self, **_: Any) -> None:
        self._is_stopping.set()
        # A stop that hangs must not leave a process behind.
        timer = threading.Timer(self._settings.grace_s + _STOP_MARGIN_S, os._exit, (1,))
        timer.daemon = True
        timer.start()


def _look_up_often(duties: Duties) -> type[bootsteps.StartStopStep]:
    """A step that has the event loop look up often: a job that ends in a thread does not wake it.

    It then also adds queues that the worker has turned out to be fit for.
    """

    class Wake(bootsteps.StartStopStep):
        requires = (Tasks,)

        def start(self, consumer: Any) -> None:
            def look_up() -> None:
                for route in duties.routes:
                    if not consumer.task_consumer.consuming_from(route):
                        consumer.add_task_queue(route)

            consumer.timer.call_repeatedly(_WAKE_S, look_up)

    return Wake


def _keep_logging(**_: Any) -> None:
    """Being connected is enough: Celery then leaves the house's logging alone."""


def terminate() -> None:
    """Stop this process as SIGTERM does."""
    os.kill(os.getpid(), signal.SIGTERM)
