"""The searches of one worker, each in a thread of its own."""

from __future__ import annotations

import threading

import structlog

from wintergarden.errors import WintergardenError
from wintergarden.jobs import Attempt, Jobs, JobState

_log = structlog.get_logger(__name__)


class SearchThreads:
    """Runs searches beside the worker's slots, which are for what computes.

    A search waits for its trials. In a slot it would keep one of them from running, and with one
    slot in all it would wait for itself.

    Args:
        jobs: the records.
        store_uri: the model store.
        is_stopping: set when the worker shuts down; searches then go back to the queue.
    """

    def __init__(self, jobs: Jobs, store_uri: str, is_stopping: threading.Event) -> None:
        self._jobs = jobs
        self._store_uri = store_uri
        self._is_stopping = is_stopping
        self._threads: list[threading.Thread] = []

    def start(self, attempt: Attempt) -> None:
        """Carry a search out; returns at once."""
        thread = threading.Thread(
            target=self._run, args=(attempt,), name=f"search-{attempt.job.id}", daemon=True
        )
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for searches that give themselves back, since the worker is stopping."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, attempt: Attempt) -> None:
        from trainer.search.search import Search  # Optuna is for workers that have a search

        try:
            search = Search(self._jobs, attempt, self._store_uri, self._is_stopping)
            if search.run() == JobState.QUEUED:
                self._jobs.send(attempt.job)
        except WintergardenError as exc:
            _log.warning("the search is left to its lease", job=attempt.job.id, error=exc.message)
        except Exception:
            _log.exception("the search failed", job=attempt.job.id)
            attempt.retry("its search failed; see the worker's log")
