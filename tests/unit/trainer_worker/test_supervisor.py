"""One attempt, supervised: a scripted training process, a real server, no Celery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.duties import TrainerDuties
from trainer.settings import Settings
from trainer.testing import bodies, eventually, has_ended, scripted, states_of
from wintergarden.jobs import (
    JobRecord,
    Jobs,
    JobState,
    LogWritten,
    MetricsReported,
    Progressed,
)
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store import Lineage, ManifestFields, TensorInfo, open_store
from wintergarden.worker.standby import Standby
from wintergarden.worker.supervisor import Supervision

Supervise = Callable[..., JobRecord]


def test_a_job_runs_to_its_result(
    jobs: Jobs, supervise: Supervise, store: Path, settings: Settings
) -> None:
    job = supervise(steps=4)
    assert job.state == JobState.SUCCEEDED
    assert (job.model_name, job.model_version, job.offered_version) == ("scripted-none", 1, 1)
    assert job.metrics == {"test_accuracy": 0.5, "seed": 3.0}
    metrics = bodies(jobs, job, MetricsReported)
    assert [m.values for m in metrics] == [{"loss": 1 / step} for step in (1, 2, 3, 4)]
    assert {p.phase for p in bodies(jobs, job, Progressed)} == {"data", "train", "export"}
    assert (store / f"{job.id}-1.published").exists()
    assert not any(settings.work_dir.iterdir())


def test_training_has_a_lower_priority_and_a_directory_of_its_own(
    jobs: Jobs, supervise: Supervise, settings: Settings
) -> None:
    job = supervise()
    [line] = [log.text for log in bodies(jobs, job, LogWritten)]
    assert line == f"nice 10 in {settings.work_dir}/{job.id}-1"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (
            "exit",
            "attempt 1 of 3: the training process ended with exit code 7; its last log lines:",
        ),
        ("kill", "killed by SIGKILL, not by its supervisor: most likely it ran out of memory"),
        ("crash", "killed by SIGSEGV: a crash in compiled code"),
        ("memory", "out of memory: MemoryError: ; it used"),
        ("unavailable", "attempt 1 of 3: the model store does not answer"),
    ],
)
def test_what_may_go_better_next_time_is_tried_again(
    supervise: Supervise, how: str, reason: str
) -> None:
    job = supervise(die=how)
    assert (job.state, job.failures) == (JobState.QUEUED, 1)
    assert reason in job.reason
    if how not in ("unavailable", "memory"):
        assert job.reason.endswith(f"about to {how}")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("error", "the loss became NaN at step 2"),
        ("invalid", "hyperparameter 'layers': too deep"),
    ],
)
def test_what_would_fail_again_ends_the_job(supervise: Supervise, how: str, reason: str) -> None:
    job = supervise(die=how)
    assert (job.state, job.reason) == (JobState.FAILED, reason)


def test_a_process_that_cannot_start_is_a_failed_attempt(supervise: Supervise) -> None:
    job = supervise(child_command="/no/such/python -m trainer.child")
    assert job.state == JobState.QUEUED
    assert "could not be started: [Errno 2] No such file or directory" in job.reason


def test_a_process_that_hangs_loses_the_job(supervise: Supervise) -> None:
    job = supervise(die="hang", stall_train_s=0.5)
    assert job.state == JobState.QUEUED
    assert "no progress for 0.5 s in phase 'train'; its last log lines:\nabout to" in job.reason


def test_a_long_silence_within_the_limit_keeps_the_lease(jobs: Jobs, supervise: Supervise) -> None:
    is_over = threading.Event()

    def reap() -> None:
        while not is_over.wait(0.1):
            jobs.reap()

    reaper = threading.Thread(target=reap)
    reaper.start()
    job = supervise(steps=1, step_s=1.5, lease_s=0.6)
    is_over.set()
    reaper.join()
    assert (job.state, job.fence) == (JobState.SUCCEEDED, 1)


@pytest.mark.parametrize("how", ["", "ignore"])
def test_a_cancelled_job_stops(jobs: Jobs, supervise: Supervise, store: Path, how: str) -> None:
    """At its next step, or by force after the grace."""

    def cancel() -> None:
        job = eventually(lambda: jobs.list([JobState.RUNNING]))[0]
        eventually(lambda: jobs.get(job.id).phase == "train")
        jobs.cancel(job.id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    job = supervise(die=how, steps=10_000, grace_s=0.5)
    canceller.join()
    assert (job.state, job.reason) == (JobState.CANCELLED, "cancelled while it ran")
    assert has_ended(int((store / f"{job.id}-1.pid").read_text()))


def test_a_worker_that_stops_gives_the_job_back(jobs: Jobs, supervise: Supervise) -> None:
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    job = supervise(stopping, steps=10_000)
    assert (job.state, job.failures) == (JobState.QUEUED, 0)
    assert job.reason == "worker worker-1 was stopped; the job starts again from the beginning"


def test_a_superseded_attempt_publishes_nothing(
    jobs: Jobs, settings: Settings, store: Path, server: ValkeyServer
) -> None:
    """Its job was given to another while it worked."""
    job = jobs.submit(scripted(steps=10_000))
    old = jobs.claim(job.id, "worker-1", settings.lease_s)
    assert old
    ends: list[JobState | None] = []
    standby = Standby(settings.child_arguments, is_warm=False)
    duties = TrainerDuties(settings, jobs)
    thread = threading.Thread(
        target=lambda: ends.append(
            Supervision(old, settings, standby, duties, is_stopping=threading.Event()).run()
        )
    )
    thread.start()
    eventually(lambda: jobs.get(job.id).phase == "train")
    server.expire_lease(job.id)
    assert jobs.reap().expired
    new = jobs.claim(job.id, "worker-2", 30.0)
    assert new
    thread.join(60)
    assert ends == [None]
    assert not (store / f"{job.id}-1.published").exists()
    assert has_ended(int((store / f"{job.id}-1.pid").read_text()))
    assert jobs.get(job.id).worker == "worker-2"
    assert states_of(jobs, job.id) == ["QUEUED", "RUNNING", "QUEUED", "RUNNING"]


def test_what_an_earlier_attempt_published_is_not_trained_again(
    jobs: Jobs, settings: Settings, store: Path, server: ValkeyServer
) -> None:
    """It died between publishing and saying so."""
    job = jobs.submit(scripted())
    first = jobs.claim(job.id, "worker-1", 30.0)
    assert first
    with open_store(str(store)).publish(job.spec.model) as draft:
        draft.write("model.onnx", b"a graph")
        assert first.offer(draft.version)
        draft.commit(
            ManifestFields(
                architecture="scripted",
                task="unknown",
                inputs=(TensorInfo(name="x", datatype="FP32", shape=(-1,)),),
                outputs=(TensorInfo(name="y", datatype="FP32", shape=(-1,)),),
                lineage=Lineage(job_id=job.id),
                metrics={"epochs": 2.0},
            ),
            publication=job.id,
        )
    server.expire_lease(job.id)
    jobs.reap()
    second = jobs.claim(job.id, "worker-2", 30.0)
    assert second
    standby = Standby(settings.child_arguments, is_warm=False)
    duties = TrainerDuties(settings, jobs)
    assert (
        Supervision(second, settings, standby, duties, is_stopping=threading.Event()).run()
        == JobState.SUCCEEDED
    )
    finished = jobs.get(job.id)
    assert (finished.model_version, finished.metrics) == (1, {"epochs": 2.0})
    assert not (store / f"{job.id}-2.pid").exists()


def test_what_libraries_print_becomes_log_lines(jobs: Jobs, supervise: Supervise) -> None:
    job = supervise(die="print")
    assert job.state == JobState.SUCCEEDED
    assert LogWritten("debug", "a library that prints") in bodies(jobs, job, LogWritten)


def test_supervising_costs_little(supervise: Supervise) -> None:
    """A supervised process of a hundred steps takes little longer than its steps."""
    began = time.monotonic()
    supervise(steps=100, step_s=0.005)
    assert time.monotonic() - began < 5
