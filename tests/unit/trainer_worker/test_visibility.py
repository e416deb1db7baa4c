"""Jobs that run for longer than a message may stay unacknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess, ended, scripted, states_of
from wintergarden.jobs import Jobs, JobState
from wintergarden.jobs.testing import free_port

# As a worker, but for messages that come back after a second, looked for all the time.
_FORGETFUL = """
import runpy
from wintergarden.jobs import broker
broker.TRANSPORT_OPTIONS |= {
    "visibility_timeout": 1, "unacked_restore_interval": 0.2, "unacked_restore_throttle": 1,
}
runpy.run_module("trainer", run_name="__main__")
"""


@pytest.fixture
def forgetful(settings: Settings, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    workers = [
        WorkerProcess(settings, name, free_port(), tmp_path / f"{name}.log", ("-c", _FORGETFUL))
        for name in ("worker-1", "worker-2")
    ]
    yield workers
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


def test_a_job_longer_than_the_visibility_timeout_runs_once(
    jobs: Jobs, forgetful: list[WorkerProcess], store: Path
) -> None:
    for worker in forgetful:
        worker.wait_until_healthy()
    long = [jobs.submit(scripted(steps=60, step_s=0.1)) for _ in range(2)]
    for job in long:
        last = ended(jobs, job.id, timeout_s=120)
        assert (last.state, last.fence, last.failures) == (JobState.SUCCEEDED, 1, 0)
        assert states_of(jobs, job.id) == [
            JobState.QUEUED,
            JobState.RUNNING,
            JobState.SUCCEEDED,
        ]
        assert [path.name for path in store.glob(f"{job.id}-*.pid")] == [f"{job.id}-1.pid"]
