"""What a job may use of time and memory, watched while it runs."""

from __future__ import annotations

import time

from wintergarden.jobs import JobRecord
from wintergarden.worker.child_process import ChildProcess
from wintergarden.worker.memory import MIB

LOOK_S = 0.5
IDLE_LOOK_S = 5.0
"""Where there is no limit and the number is only for what is said at a bad end: looking costs."""


class Limits:
    """Of one attempt; its time runs from now on.

    Attributes:
        used_mb: mebibytes that the job's process and all it started used last.
    """

    def __init__(self, job: JobRecord) -> None:
        self._max_seconds = float(getattr(job.spec, "max_seconds", 0.0))
        self._max_memory_mb = int(getattr(job.spec, "max_memory_mb", 0))
        self._began_at = time.monotonic() - job.ran_seconds
        self._looked_at = 0.0
        self.used_mb = 0

    def look(self, child: ChildProcess) -> None:
        """See how much memory is used now, at most twice a second."""
        now = time.monotonic()
        if now - self._looked_at >= (LOOK_S if self._max_memory_mb else IDLE_LOOK_S):
            self._looked_at = now
            self.used_mb = child.used_memory // MIB or self.used_mb

    @property
    def out_of_memory(self) -> str:
        """What was used and allowed; empty while that is well."""
        if not 0 < self._max_memory_mb < self.used_mb:
            return ""
        return (
            f"it used {self.used_mb} MiB of memory of the {self._max_memory_mb} MiB that "
            "max_memory_mb allows"
        )

    @property
    def out_of_time(self) -> str:
        """How long it ran and might have; empty while that is well."""
        ran = time.monotonic() - self._began_at
        if not 0 < self._max_seconds < ran:
            return ""
        return f"it ran for {ran:.0f} s of the {self._max_seconds:g} s that max_seconds allows"
