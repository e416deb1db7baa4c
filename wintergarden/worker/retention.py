"""What goes when nobody needs it any more: files of jobs that have ended, and then their records.

Every worker does this, now and then; doing it twice does no harm.
"""

from __future__ import annotations

import threading
import time

import structlog

from wintergarden.errors import NotFound, WintergardenError
from wintergarden.jobs import Jobs, JobState
from wintergarden.store import open_store
from wintergarden.store.job_files import jobs_with_files, open_job_files
from wintergarden.worker.leftovers import sweep_ended

_SECONDS_A_DAY = 86_400.0
_PAGE = 100

_log = structlog.get_logger(__name__)


class Retention:
    """Sweeps in a thread of its own: a store may take its time, and repairs must not wait for it.

    Args:
        jobs: the records.
        store_uri: where the jobs' files are.
        keep_jobs_days: how long records and checkpoints outlive the end of their job.
        sweep_s: seconds between two sweeps.
    """

    def __init__(self, jobs: Jobs, store_uri: str, keep_jobs_days: float, sweep_s: float) -> None:
        self._jobs = jobs
        self._store_uri = store_uri
        self._keep_s = keep_jobs_days * _SECONDS_A_DAY
        self._sweep_s = sweep_s
        self._due_at = time.monotonic()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Start a sweep where one is due; returns at once."""
        if time.monotonic() < self._due_at or (self._thread and self._thread.is_alive()):
            return
        self._due_at = time.monotonic() + self._sweep_s
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def sweep(self) -> None:
        """Delete what killed workers left of jobs that have ended, then jobs that ended long ago.

        Raises:
            WintergardenError: the store or Redis does not answer; the rest is left for later.
        """
        for job_id in jobs_with_files(self._store_uri):
            try:
                job = self._jobs.get(job_id)
            except NotFound:  # of another deployment, perhaps, that uses the same store
                continue
            if job.state.is_final:
                kept = "" if job.state == JobState.SUCCEEDED else job.checkpoint
                sweep_ended(open_job_files(self._store_uri, job_id), kept)
        while old := self._jobs.ended_for(self._keep_s, _PAGE):
            forgotten = [job_id for job_id in old if self._forget(job_id)]
            _log.info("forgot jobs that ended long ago", count=len(forgotten))
            if not forgotten:  # parents of children that have not ended
                return

    def _forget(self, job_id: str) -> bool:
        """The files first: without its record nobody would know whose they are."""
        open_job_files(self._store_uri, job_id).delete_folder()
        # A published version stays; that it is this job's is in its own manifest alone from now on.
        open_store(self._store_uri).forget_publication(job_id)
        return self._jobs.forget(job_id)

    def _run(self) -> None:
        try:
            self.sweep()
        except (WintergardenError, OSError) as exc:
            _log.warning("old jobs are not swept for now", error=str(exc))
        except Exception:
            _log.exception("old jobs are not swept for now")
