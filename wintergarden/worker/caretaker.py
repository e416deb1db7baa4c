"""What every worker does on a timer, beside others doing the same: repair, sweep, probe."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from wintergarden.errors import NotFound, WintergardenError
from wintergarden.jobs import Jobs, JobState, Worker

_SCRATCH = re.compile(r"([0-9a-f]{16})-([0-9]+)")

_log = structlog.get_logger(__name__)


class Caretaker:
    """Goes its rounds in a thread of its own until stopped.

    Args:
        jobs: the records to take care of.
        describe: this worker, as it is now.
        work_dir: swept once of what killed attempts left behind.
        rounds_s: seconds between two rounds.
        chores: what else to do each round.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        describe: Callable[[], Worker],
        work_dir: Path,
        rounds_s: float,
        chores: tuple[Callable[[], None], ...],
    ) -> None:
        self._jobs = jobs
        self._rounds_s = rounds_s
        self._work_dir = work_dir
        self._chores = (
            lambda: jobs.report_worker(describe()),
            self._reap,
            self._sweep,
            *chores,
        )
        self._is_swept = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caretaker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            for chore in self._chores:
                try:
                    chore()
                except WintergardenError as exc:
                    _log.warning("a chore has to wait", error=exc.message)
                    break  # Redis does not answer: neither will it the next one
                except Exception:  # the rounds go on: nobody else does them here
                    _log.exception("a chore failed")
            self._stopped.wait(self._rounds_s)

    def _reap(self) -> None:
        repairs = self._jobs.reap()
        if repairs:
            _log.info("repaired", expired=repairs.expired, sent=repairs.sent)

    def _sweep(self) -> None:
        """Scratch directories are named JOB-FENCE; those of running attempts stay."""
        if self._is_swept:
            return
        self._work_dir.mkdir(parents=True, exist_ok=True)
        for directory in self._work_dir.iterdir():
            if (name := _SCRATCH.fullmatch(directory.name)) and self._is_left(*name.groups()):
                shutil.rmtree(directory, ignore_errors=True)
        self._is_swept = True

    def _is_left(self, job_id: str, fence: str) -> bool:
        try:
            job = self._jobs.get(job_id)
        except NotFound:  # of another deployment, perhaps, that works in the same directory
            return False
        return job.state != JobState.RUNNING or str(job.fence) != fence
