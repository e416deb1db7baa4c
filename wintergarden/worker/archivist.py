"""Events of jobs that have ended go to the store, and later from Redis.

Every worker does this, now and then; doing it twice does no harm.
"""

from __future__ import annotations

import threading
import time

import structlog

from wintergarden.errors import WintergardenError
from wintergarden.jobs import Jobs
from wintergarden.store.job_files import open_job_files

_PAGE = 100
_REST_S = 30.0
"""After a store that does not answer, or is full."""

_log = structlog.get_logger(__name__)


class Archivist:
    """Works in a thread of its own: a store may take its time, and repairs must not wait for it.

    Args:
        jobs: the records and their events.
        store_uri: where the jobs' files are.
        keep_s: how long Redis keeps the events of a job beside their archive.
    """

    def __init__(self, jobs: Jobs, store_uri: str, keep_s: float) -> None:
        self._jobs = jobs
        self._store_uri = store_uri
        self._keep_s = keep_s
        self._due_at = 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin where nobody is at it; returns at once."""
        if time.monotonic() < self._due_at or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, name="archivist", daemon=True)
        self._thread.start()

    def work(self) -> None:
        """See to the events of all jobs whose turn it is.

        Raises:
            WintergardenError: the store or Redis does not answer, or the store is full; the rest
                is left for later, and Redis keeps what is not archived.
        """
        seen: set[str] = set()
        while new := [job for job in self._jobs.archive_due(_PAGE) if job not in seen]:
            for job_id in new:
                seen.add(job_id)
                files = open_job_files(self._store_uri, job_id)
                what = self._jobs.archive_events(job_id, files.put, self._keep_s)
                _log.debug("saw to a job's events", job=job_id, outcome=what)

    def _run(self) -> None:
        try:
            self.work()
        except (WintergardenError, OSError) as exc:
            self._due_at = time.monotonic() + _REST_S
            _log.warning("events of jobs are not archived for now", error=str(exc))
        except Exception:
            self._due_at = time.monotonic() + _REST_S
            _log.exception("events of jobs are not archived for now")
