"""What a worker that starts finds in its scratch directory."""

from __future__ import annotations

from pathlib import Path

from trainer.testing import eventually, scripted
from wintergarden.jobs import Jobs, Worker
from wintergarden.worker.caretaker import Caretaker


def test_what_killed_attempts_left_is_swept_and_nothing_else(jobs: Jobs, tmp_path: Path) -> None:
    attempt = jobs.claim(jobs.submit(scripted()).id, "worker-1", 30.0)
    assert attempt
    attempt.requeue("the worker stops")
    attempt = jobs.claim(attempt.job.id, "worker-1", 30.0)
    assert attempt
    waiting = jobs.submit(scripted())
    ours = {f"{attempt.job.id}-1", f"{waiting.id}-1"}
    others = {
        f"{attempt.job.id}-2",  # runs
        "0123456789abcdef-1",  # of another deployment
        "systemd-private",
        "backup-2024",
        "notes",
    }
    for name in ours | others:
        (tmp_path / name).mkdir()
    is_over = []
    caretaker = Caretaker(
        jobs,
        describe=lambda: Worker("worker-1"),
        work_dir=tmp_path,
        rounds_s=60.0,
        chores=(lambda: is_over.append(True),),
    )
    caretaker.start()
    eventually(lambda: is_over)
    caretaker.stop()
    assert {directory.name for directory in tmp_path.iterdir()} == others
