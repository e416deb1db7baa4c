"""What workers say they can do, and what they take because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess, ended, eventually, has_ended, scripted
from wintergarden.jobs import Jobs, JobState

StartWorker = Callable[..., WorkerProcess]


def test_a_worker_describes_itself(
    jobs: Jobs, start_worker: StartWorker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_CONCURRENCY", "2")
    monkeypatch.setenv("TRAINER_MEMORY_MB", "1000")
    start_worker()
    [worker] = eventually(lambda: [w for w in jobs.workers() if w.devices])
    assert (worker.name, worker.concurrency, worker.memory_mb) == ("worker-1", 2, 500)
    assert (worker.routes[0], tuple(worker.devices)) == ("train", ("cpu",))
    assert "train.cuda" not in worker.routes
    small, large = (jobs.submit(replace(scripted(), max_memory_mb=mb)) for mb in (400, 600))
    assert ended(jobs, small.id).state == JobState.SUCCEEDED
    assert jobs.get(large.id).state == JobState.QUEUED


def test_jobs_for_a_gpu_go_to_workers_that_have_one(
    jobs: Jobs, start_worker: StartWorker, settings: Settings
) -> None:
    """Which a worker learns some time after its start."""
    start_worker("plain").wait_until_healthy()
    job = jobs.submit(replace(scripted(), device="cuda"))
    assert ended(jobs, jobs.submit(scripted()).id).worker == "plain"
    assert jobs.get(job.id).state == JobState.QUEUED
    used = settings.model_copy(update={"child_command": f"{settings.child_command} --cuda"})
    start_worker("with-gpu", used)
    finished = ended(jobs, job.id, 60)
    assert (finished.state, finished.worker) == (JobState.SUCCEEDED, "with-gpu")


def test_a_job_goes_to_the_process_that_is_kept_ready(
    jobs: Jobs, start_worker: StartWorker, settings: Settings, store: Path
) -> None:
    worker = start_worker("worker-1", settings.model_copy(update={"warm": True}))
    served: list[int] = []
    for _ in range(2):
        [ready] = eventually(lambda: set(warm_children(worker.process.pid)) - set(served))
        job = ended(jobs, jobs.submit(scripted()).id)
        assert job.state == JobState.SUCCEEDED
        served.append(int((store / f"{job.id}-1.pid").read_text()))
        assert served[-1] == ready
    [ready] = eventually(lambda: set(warm_children(worker.process.pid)) - set(served))
    worker.process.kill()
    worker.wait()
    eventually(lambda: has_ended(ready))


def warm_children(parent: int) -> list[int]:
    """Processes that a worker keeps ready."""
    return [pid for pid, ppid, arguments in processes() if ppid == parent and "--warm" in arguments]


def processes() -> Iterator[tuple[int, int, list[str]]]:
    """Process id, parent and command of all there are."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                arguments = (entry / "cmdline").read_text().split("\0")
                yield int(entry.name), int(status[1]), arguments
