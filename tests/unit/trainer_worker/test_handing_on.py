"""Real workers that leave a job to others or to later, and what they leave in the store."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from trainer.settings import Settings
from trainer.testing import WorkerProcess, bodies, ended, eventually, has_ended, running, scripted
from wintergarden.jobs import Jobs, JobState, LogWritten
from wintergarden.store.job_files import jobs_with_files, open_job_files
from wintergarden.worker.retention import Retention

StartWorker = Callable[..., WorkerProcess]
DAY_S = 86_400.0


def test_a_killed_workers_job_goes_on_from_its_checkpoint(
    jobs: Jobs, start_worker: StartWorker, store: Path
) -> None:
    """With its training process, as a machine is."""
    first = start_worker("worker-1")
    job = jobs.submit(scripted(steps=80, step_s=0.02, checkpoint_every=5))
    child = running(jobs, job.id, store)
    eventually(lambda: jobs.get(job.id).checkpoint_step >= 5)
    os.kill(child, signal.SIGKILL)
    first.signal(signal.SIGKILL)
    first.wait()
    step = jobs.get(job.id).checkpoint_step
    start_worker("worker-2")
    finished = ended(jobs, job.id, 60)
    assert (finished.state, finished.worker) == (JobState.SUCCEEDED, "worker-2")
    resumed = [log.text for log in bodies(jobs, job, LogWritten) if "resumed" in log.text]
    assert resumed == [f"resumed from step {step}"]
    files = open_job_files(str(store), job.id)  # of which its archived events stay
    eventually(lambda: all(name.startswith("events-") for name in files.names()))


def test_a_stopped_workers_job_goes_on_from_the_step_it_had_reached(
    jobs: Jobs, start_worker: StartWorker, store: Path, settings: Settings
) -> None:
    first = start_worker("worker-1", settings.model_copy(update={"grace_s": 30.0}))
    job = jobs.submit(scripted(steps=60, step_s=0.02, checkpoint_every=1_000))
    running(jobs, job.id, store)
    first.signal(signal.SIGTERM)
    assert first.wait(60) == 0
    waiting = jobs.get(job.id)
    assert (waiting.state, waiting.failures) == (JobState.QUEUED, 0)
    assert waiting.checkpoint_step >= 1
    start_worker("worker-2")
    assert ended(jobs, job.id, 60).state == JobState.SUCCEEDED
    resumed = [log.text for log in bodies(jobs, job, LogWritten) if "resumed" in log.text]
    assert resumed == [f"resumed from step {waiting.checkpoint_step}"]


def test_a_paused_job_leaves_its_worker_to_others_and_goes_on_later(
    jobs: Jobs, start_worker: StartWorker, store: Path, settings: Settings
) -> None:
    start_worker("worker-1", settings.model_copy(update={"grace_s": 30.0}))
    job = jobs.submit(scripted(steps=60, step_s=0.02, checkpoint_every=1_000))
    child = running(jobs, job.id, store)
    jobs.pause(job.id)
    eventually(lambda: jobs.get(job.id).state == JobState.PAUSED)
    assert has_ended(child)
    assert ended(jobs, jobs.submit(scripted()).id).state == JobState.SUCCEEDED
    paused = jobs.get(job.id)
    assert paused.state == JobState.PAUSED
    assert open_job_files(str(store), job.id).names() == [paused.checkpoint]
    jobs.resume(job.id)
    assert ended(jobs, job.id, 60).state == JobState.SUCCEEDED


def test_the_checkpoint_of_a_cancelled_job_stays_until_its_record_goes(
    jobs: Jobs, start_worker: StartWorker, store: Path
) -> None:
    start_worker()
    job = jobs.submit(scripted(steps=10_000, step_s=0.01, checkpoint_every=3))
    eventually(lambda: jobs.get(job.id).checkpoint_step >= 6)
    jobs.cancel(job.id)
    cancelled = ended(jobs, job.id)
    assert cancelled.state == JobState.CANCELLED
    files = open_job_files(str(store), job.id)
    eventually(lambda: files.names() == [cancelled.checkpoint])

    Retention(jobs, str(store), keep_jobs_days=1.0, sweep_s=1.0).sweep()
    assert files.names() == [cancelled.checkpoint]
    Retention(jobs, str(store), keep_jobs_days=1 / DAY_S, sweep_s=1.0).sweep()
    eventually(lambda: time.time() - (cancelled.ended_at or 0) > 1.5)
    Retention(jobs, str(store), keep_jobs_days=1 / DAY_S, sweep_s=1.0).sweep()
    assert not files.names()
    assert job.id not in [each.id for each in jobs.list()]


def test_what_killed_workers_left_is_swept_and_what_others_use_is_not(
    jobs: Jobs, store: Path
) -> None:
    done, waits, unknown = jobs.submit(scripted()), jobs.submit(scripted()), "0123456789abcdef"
    for job_id in (done.id, waits.id, unknown):
        open_job_files(str(store), job_id).put("1/checkpoint-3.txt", b"3")
    attempt = jobs.claim(done.id, "worker-1", 30.0)
    assert attempt
    assert attempt.job.id == done.id
    attempt.keep_checkpoint("1/checkpoint-3.txt", 3)
    attempt.succeed("scripted-none", 1, {})
    retention = Retention(jobs, str(store), keep_jobs_days=1.0, sweep_s=3600.0)
    retention.look()
    eventually(lambda: jobs_with_files(str(store)) == sorted([waits.id, unknown]))
