"""Which job is next, and for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wintergarden.errors import InvalidArgument
from wintergarden.jobs import Jobs, JobState, TrainingSpec, Worker
from wintergarden.jobs.broker import Messenger
from wintergarden.jobs.testing import ValkeyServer


def test_a_higher_priority_runs_first_whatever_message_came(jobs: Jobs, spec: TrainingSpec) -> None:
    usual = jobs.submit(spec)
    urgent = jobs.submit(spec, priority=5)
    unhurried = jobs.submit(spec, priority=-100)
    late = jobs.submit(spec, priority=5)
    assert [jobs.get(job.id).queue_position for job in (urgent, late, usual, unhurried)] == [
        1,
        2,
        3,
        4,
    ]
    order = [jobs.claim(usual.id, "worker-1", 30.0) for _ in range(4)]
    assert [attempt.job.id for attempt in order if attempt] == [
        urgent.id,
        late.id,
        usual.id,
        unhurried.id,
    ]
    assert jobs.claim(usual.id, "worker-1", 30.0) is None


@pytest.mark.parametrize("priority", [-101, 101])
def test_priorities_have_limits(jobs: Jobs, spec: TrainingSpec, priority: int) -> None:
    with pytest.raises(InvalidArgument, match=f"priority {priority}: expected -100 to 100"):
        jobs.submit(spec, priority=priority)


def test_a_job_given_back_keeps_its_place(jobs: Jobs, spec: TrainingSpec) -> None:
    first, second = jobs.submit(spec, priority=1), jobs.submit(spec, priority=1)
    attempt = jobs.claim(second.id, "worker-1", 30.0)
    assert attempt
    assert attempt.job.id == first.id
    attempt.requeue("its worker was stopped")
    assert [jobs.get(job.id).queue_position for job in (first, second)] == [1, 2]


def test_a_job_too_large_for_a_worker_is_left_to_another(jobs: Jobs, spec: TrainingSpec) -> None:
    large = jobs.submit(replace(spec, max_memory_mb=4_000))
    small = jobs.submit(spec)
    jobs.report_worker(Worker("small", memory_mb=2_000))
    assert jobs.get(large.id).reason == (
        "no worker has the 4000 MiB it asks for; the largest has 2000"
    )
    attempt = jobs.claim(large.id, "small", 30.0, memory_mb=2_000)
    assert attempt
    assert attempt.job.id == small.id
    assert jobs.claim(large.id, "small", 30.0, memory_mb=2_000) is None
    jobs.report_worker(Worker("large", memory_mb=8_000))
    assert jobs.get(large.id).reason == ""
    attempt = jobs.claim(large.id, "large", 30.0, memory_mb=8_000)
    assert attempt
    assert attempt.job.id == large.id


def test_any_number_of_jobs_too_large_for_a_worker_keep_none_behind_them_waiting(
    jobs: Jobs, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Messenger, "send", lambda *_: True)
    huge = replace(spec, max_memory_mb=10**9)
    for _ in range(250):
        jobs.submit(huge)
    small = jobs.submit(spec)
    attempt = jobs.claim(small.id, "small", 30.0, memory_mb=2_000)
    assert attempt
    assert attempt.job.id == small.id


def test_jobs_for_cuda_wait_in_a_queue_of_their_own(jobs: Jobs, spec: TrainingSpec) -> None:
    cuda = jobs.submit(replace(spec, device="cuda"))
    plain = jobs.submit(spec)
    assert (cuda.route, plain.route) == ("train.cuda", "train")
    assert (cuda.queue_position, plain.queue_position) == (1, 1)
    assert jobs.queue_lengths() == {"train": 1, "train.cuda": 1}
    jobs.report_worker(Worker("worker-1"))
    assert jobs.get(cuda.id).reason == (
        "no worker takes jobs of 'train.cuda'; there are worker-1 (train)"
    )
    attempt = jobs.claim(plain.id, "worker-1", 30.0)
    assert attempt
    assert attempt.job.id == plain.id
    jobs.report_worker(Worker("worker-2", routes=("train", "train.cuda"), devices=("H100",)))
    assert jobs.get(cuda.id).reason == ""
    assert [worker.name for worker in jobs.workers()] == ["worker-1", "worker-2"]


def test_newer_jobs_are_left_to_newer_workers(
    jobs: Jobs, spec: TrainingSpec, server: ValkeyServer
) -> None:
    newer = jobs.submit(spec)
    server.overwrite(f"wintergarden:job:{newer.id}", "schema_version", "99")
    server.overwrite(f"wintergarden:job:{newer.id}", "kind", "dream")
    server.overwrite(f"wintergarden:job:{newer.id}", "send_at", "0")
    known = jobs.submit(spec)
    attempt = jobs.claim(newer.id, "worker-1", 30.0)
    assert attempt
    assert attempt.job.id == known.id
    assert jobs.claim(newer.id, "worker-1", 30.0) is None
    assert not jobs.reap().sent
    assert jobs.get(newer.id).state == JobState.QUEUED
    assert newer.id in [job.id for job in jobs.list()]


def test_a_newer_job_keeps_its_lease_and_its_record(
    jobs: Jobs, spec: TrainingSpec, server: ValkeyServer
) -> None:
    attempt = jobs.claim(jobs.submit(spec).id, "newer-worker", 30.0)
    assert attempt
    job_id = attempt.job.id
    server.overwrite(f"wintergarden:job:{job_id}", "schema_version", "99")
    server.expire_lease(job_id)
    assert not jobs.reap().expired
    assert jobs.get(job_id).state == JobState.RUNNING
    server.overwrite(f"wintergarden:job:{job_id}", "schema_version", "2")
    attempt.fail("it had to be")
    server.overwrite(f"wintergarden:job:{job_id}", "schema_version", "99")
    assert not jobs.forget(job_id)
