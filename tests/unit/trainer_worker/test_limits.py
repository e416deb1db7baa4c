"""What a job may use, and what is said when it uses more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from trainer.testing import eventually
from wintergarden.jobs import JobRecord, JobState
from wintergarden.worker.memory import MIB, available_memory_mb, used_by_group

Supervise = Callable[..., JobRecord]


def test_a_job_that_runs_too_long_is_ended_with_a_checkpoint(supervise: Supervise) -> None:
    job = supervise(
        max_seconds=1.5, steps=10_000, step_s=0.01, checkpoint_every=1_000_000, grace_s=20.0
    )
    assert job.state == JobState.FAILED
    assert "s of the 1.5 s that max_seconds allows; it had got to step" in job.reason
    assert job.reason.endswith("of the job")
    assert job.checkpoint_step > 0


def test_the_time_of_all_attempts_counts(supervise: Supervise) -> None:
    job = supervise(max_seconds=20.0, steps=3, step_s=0.6, die="exit once")
    assert job.state == JobState.QUEUED
    assert 0.5 < job.ran_seconds < 20.0


def test_a_job_that_uses_too_much_memory_is_killed(supervise: Supervise) -> None:
    job = supervise(max_memory_mb=150, use_mb=300, steps=10_000, step_s=0.05)
    assert job.state == JobState.FAILED
    assert "MiB of memory of the 150 MiB that max_memory_mb allows" in job.reason
    used = int(job.reason.split()[2])
    assert 200 < used < 1_000


def test_a_job_within_its_limits_is_left_alone(supervise: Supervise) -> None:
    job = supervise(max_memory_mb=2_000, max_seconds=60.0, use_mb=50)
    assert job.state == JobState.SUCCEEDED


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
def test_the_memory_of_a_group_is_that_of_all_its_processes() -> None:
    """Grandchildren too; libraries that all of them map count once."""
    code = (
        "import os, sys\n"
        "if int(sys.argv[1]): os.spawnv(os.P_NOWAIT, sys.executable,\n"
        "    [sys.executable, '-c', sys.argv[2], '0', sys.argv[2]])\n"
        "held = bytearray(os.urandom(1 << 20)) * 64\n"
        "sys.stdin.readline()\n"
    )
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, "1", code], stdin=reading, start_new_session=True
    ) as parent:
        os.close(reading)
        try:
            eventually(lambda: used_by_group(parent.pid) >= 128 * MIB)
            assert used_by_group(parent.pid) < 256 * MIB
        finally:
            os.close(writing)
    eventually(lambda: used_by_group(parent.pid) == 0)


def test_the_machine_tells_its_memory() -> None:
    assert 100 < available_memory_mb() < 1 << 30
