"""Checkpoints on their way: from the training process to the record, and to the next attempt."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.duties import TrainerDuties
from trainer.settings import Settings
from trainer.testing import bodies, eventually, scripted
from wintergarden.jobs import JobRecord, Jobs, JobState, LogWritten
from wintergarden.jobs.events import CheckpointKept
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store.job_files import open_job_files
from wintergarden.worker.leftovers import sweep_ended, sweep_superseded
from wintergarden.worker.standby import Standby
from wintergarden.worker.supervisor import Supervision

Supervise = Callable[..., JobRecord]
LONG = {"steps": 10_000, "step_s": 0.01}


def once_it_trains(
    jobs: Jobs, then: Callable[[str], object], *, steps: int = 3
) -> threading.Thread:
    """Does something to the only job when it has got so far."""

    def wait() -> None:
        job = eventually(lambda: jobs.list([JobState.RUNNING]))[0]
        eventually(lambda: any(event.step >= steps for event in jobs.watch(job.id, follow=False)))
        then(job.id)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_record_names_the_newest_checkpoint(jobs: Jobs, supervise: Supervise) -> None:
    job = supervise(steps=7, checkpoint_every=3)
    assert (job.checkpoint, job.checkpoint_step) == ("1/checkpoint-6.txt", 6)
    names = [kept.name for kept in bodies(jobs, job, CheckpointKept)]
    assert names == ["1/checkpoint-3.txt", "1/checkpoint-6.txt"]


def test_an_attempt_goes_on_where_the_one_before_was_killed(
    jobs: Jobs, supervise: Supervise
) -> None:
    stopping = threading.Event()
    thread = once_it_trains(jobs, lambda _: stopping.set(), steps=5)
    job = supervise(stopping, steps=40, checkpoint_every=4, grace_s=0.0)  # killed at once
    thread.join()
    assert job.state == JobState.QUEUED
    assert job.reason.endswith(f"the job goes on from step {job.checkpoint_step}")
    step = job.checkpoint_step
    assert step >= 4
    job = supervise(job=job)
    assert (job.state, job.fence) == (JobState.SUCCEEDED, 2)
    resumed = [log.text for log in bodies(jobs, job, LogWritten) if "resumed" in log.text]
    assert resumed == [f"resumed from step {step}"]


@pytest.mark.parametrize("what", ["pause", "cancel", "shutdown"])
def test_who_is_stopped_takes_a_checkpoint_first(
    jobs: Jobs, supervise: Supervise, what: str
) -> None:
    stopping = threading.Event()

    def stop(job_id: str) -> None:
        match what:
            case "pause":
                jobs.pause(job_id)
            case "cancel":
                jobs.cancel(job_id)
            case "shutdown":
                stopping.set()

    thread = once_it_trains(jobs, stop)
    job = supervise(stopping, **LONG, checkpoint_every=1_000_000, grace_s=30.0)
    thread.join()
    assert job.checkpoint_step >= 3
    assert job.checkpoint == f"1/checkpoint-{job.checkpoint_step}.txt"
    state, reason = {
        "pause": (JobState.PAUSED, f"paused; it goes on from step {job.checkpoint_step}"),
        "cancel": (JobState.CANCELLED, "cancelled while it ran"),
        "shutdown": (
            JobState.QUEUED,
            f"worker worker-1 was stopped; the job goes on from step {job.checkpoint_step}",
        ),
    }[what]
    assert (job.state, job.reason, job.failures) == (state, reason, 0)


def test_a_paused_job_goes_on_when_it_is_resumed(jobs: Jobs, supervise: Supervise) -> None:
    thread = once_it_trains(jobs, jobs.pause)
    job = supervise(steps=60, checkpoint_every=1_000_000, grace_s=30.0)
    thread.join()
    assert job.state == JobState.PAUSED
    step = job.checkpoint_step
    assert jobs.resume(job.id).state == JobState.QUEUED
    job = supervise(job=job)
    assert (job.state, job.fence) == (JobState.SUCCEEDED, 2)
    assert f"resumed from step {step}" in [log.text for log in bodies(jobs, job, LogWritten)]


def test_an_attempt_may_name_no_files_but_its_own(
    jobs: Jobs, supervise: Supervise, tmp_path: Path
) -> None:
    impostor = tmp_path / "impostor.py"
    impostor.write_text(
        "import json, sys\n"
        "sys.stdin.readline()\n"
        "for name in ('2/checkpoint-1.txt', '../other/1/checkpoint-1.txt', '1/checkpoint-1.txt'):\n"
        "    print(json.dumps({'type': 'checkpoint', 'name': name, 'step': 1}), flush=True)\n"
        "    answer = ''\n"
        "    while 'checkpoint_kept' not in answer: answer = sys.stdin.readline()\n"
        "    print(json.dumps({'type': 'log', 'text': name + answer}), flush=True)\n"
    )
    job = supervise(child_command=f"{sys.executable} {impostor}")
    kept = [log.text.split("{")[1].strip() for log in bodies(jobs, job, LogWritten)]
    assert kept == [
        '"checkpoint_kept": false}',
        '"checkpoint_kept": false}',
        '"checkpoint_kept": true}',
    ]
    assert job.checkpoint == "1/checkpoint-1.txt"


def test_a_checkpoint_of_a_superseded_attempt_is_not_named(
    jobs: Jobs, settings: Settings, server: ValkeyServer
) -> None:
    job = jobs.submit(scripted(**LONG, checkpoint_every=1))
    old = jobs.claim(job.id, "worker-1", settings.lease_s)
    assert old
    standby = Standby(settings.child_arguments, is_warm=False)
    duties = TrainerDuties(settings, jobs)
    thread = threading.Thread(
        target=Supervision(old, settings, standby, duties, is_stopping=threading.Event()).run
    )
    thread.start()
    eventually(lambda: jobs.get(job.id).checkpoint_step >= 3)
    server.expire_lease(job.id)
    jobs.reap()
    new = jobs.claim(job.id, "worker-2", 30.0)
    assert new
    thread.join(60)
    assert new.job.checkpoint.startswith("1/")
    assert jobs.get(job.id).checkpoint == new.job.checkpoint


def test_superseded_files_go_and_others_stay(tmp_path: Path) -> None:
    files = open_job_files(str(tmp_path), "a1")
    for name in (
        "1/checkpoint-5.ckpt", "2/checkpoint-7.ckpt", "2/checkpoint-9.ckpt", "2/picture.png",
        "3/checkpoint-1.ckpt", "4/checkpoint-2.ckpt", "events.jsonl",
    ):  # fmt: skip
        files.put(name, b"")
    (tmp_path / "jobs/a1/2/.part-0123").touch()
    sweep_superseded(files, fence=3, kept="2/checkpoint-7.ckpt")
    left = [
        "2/checkpoint-7.ckpt", "2/picture.png", "3/checkpoint-1.ckpt", "4/checkpoint-2.ckpt",
        "events.jsonl",
    ]  # fmt: skip
    assert files.names() == left
    assert not (tmp_path / "jobs/a1/1").exists()
    assert not (tmp_path / "jobs/a1/2/.part-0123").exists()
    sweep_ended(files, kept="4/checkpoint-2.ckpt")
    assert files.names() == ["2/picture.png", "4/checkpoint-2.ckpt", "events.jsonl"]
    sweep_ended(files, kept="")
    assert files.names() == ["2/picture.png", "events.jsonl"]
    files.delete("2/picture.png")
    files.delete("events.jsonl")
    trial = tmp_path / "jobs/a1/trials/models/wine/1/card/README.md"
    trial.parent.mkdir(parents=True)
    trial.touch()
    sweep_ended(files, kept="")
    assert trial.exists(), "deeper than a checkpoint's name may be"
    trial.unlink()
    archive = tmp_path / "jobs/a1/.part-0123"
    archive.touch()
    sweep_ended(files, kept="")
    assert archive.exists(), "another worker is writing it"
    archive.unlink()
    sweep_ended(files, kept="")
    assert not (tmp_path / "jobs/a1").exists()
