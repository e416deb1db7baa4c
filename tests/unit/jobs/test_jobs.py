"""Submission, reading and cancelling, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from wintergarden.errors import AlreadyExists, InvalidArgument, NotFound, Overloaded, Unavailable
from wintergarden.jobs import Attempt, Jobs, JobState, StateChanged, TrainingSpec, Worker
from wintergarden.jobs.records import SCHEMA_VERSION
from wintergarden.jobs.testing import ValkeyServer


def test_a_submitted_job_reads_back(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec, "request-1")
    assert job == jobs.get(job.id)
    assert (job.state, job.spec, job.kind) == (JobState.QUEUED, spec, "train")
    assert (job.queue_position, job.fence, job.started_at, job.ended_at) == (1, 0, None, None)
    assert job.schema_version == SCHEMA_VERSION  # as the scripts write it


def test_one_request_id_is_one_job(jobs: Jobs, spec: TrainingSpec) -> None:
    found: list[str] = []

    def submit() -> None:
        found.append(jobs.submit(spec, "same").id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(jobs.list()) == 1


def test_a_request_id_with_another_specification_is_refused(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec, "same")
    with pytest.raises(AlreadyExists, match=f"'same' belongs to job {job.id}"):
        jobs.submit(replace(spec, seed=8), "same")


@pytest.mark.parametrize("request_id", ["x" * 129, "a b", "ä", "\n"])
def test_a_malformed_request_id_is_refused(jobs: Jobs, spec: TrainingSpec, request_id: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 128 printable"):
        jobs.submit(spec, request_id)


def test_specifications_that_no_worker_could_read_are_refused(
    jobs: Jobs, spec: TrainingSpec
) -> None:
    with pytest.raises(InvalidArgument, match="not JSON compliant"):
        jobs.submit(replace(spec, hyperparameters={"l1": float("nan")}))
    nested: Any = 0.5
    for _ in range(900):
        nested = {"low": nested}
    with pytest.raises(InvalidArgument, match="recursion"):
        jobs.submit(replace(spec, hyperparameters={"l1": nested}))
    with pytest.raises(InvalidArgument, match="at most 65536"):
        jobs.submit(replace(spec, hyperparameters={"layers": list(range(20_000))}))


def test_a_full_queue_refuses_the_next_job(server: ValkeyServer, spec: TrainingSpec) -> None:
    server.flush()
    with Jobs(server.url(), max_queued=2) as jobs:
        first = jobs.submit(spec, "first")
        jobs.submit(spec)
        with pytest.raises(Overloaded, match="2 jobs are waiting or paused"):
            jobs.submit(spec)
        assert jobs.submit(spec, "first").id == first.id
        jobs.pause(first.id)
        with pytest.raises(Overloaded):
            jobs.submit(spec)
        jobs.cancel(first.id)
        jobs.submit(spec)


def test_jobs_are_listed_newest_first_and_by_state(jobs: Jobs, spec: TrainingSpec) -> None:
    ids = [jobs.submit(replace(spec, seed=seed)).id for seed in range(5)]
    jobs.cancel(ids[1])
    assert {job.id for job in jobs.list()} == set(ids)
    assert [job.id for job in jobs.list([JobState.CANCELLED])] == [ids[1]]
    assert len(jobs.list(limit=2)) == 2
    submitted = [job.submitted_at for job in jobs.list()]
    assert submitted == sorted(submitted, reverse=True)
    with pytest.raises(InvalidArgument, match="at least 1"):
        jobs.list(limit=0)


def test_a_job_knows_its_place_in_the_queue(jobs: Jobs, spec: TrainingSpec) -> None:
    first, second, third = (jobs.submit(spec).id for _ in range(3))
    assert [jobs.get(i).queue_position for i in (first, second, third)] == [1, 2, 3]
    attempt = jobs.claim(first, "worker-1", 30.0)
    assert attempt
    assert [jobs.get(i).queue_position for i in (first, second, third)] == [0, 1, 2]
    attempt.requeue("its worker was stopped")
    assert [jobs.get(i).queue_position for i in (first, second, third)] == [1, 2, 3]


def test_a_waiting_job_says_why(jobs: Jobs, spec: TrainingSpec) -> None:
    first, second = jobs.submit(spec), jobs.submit(spec)
    assert jobs.get(first.id).reason == "no worker is running"
    jobs.report_worker(Worker("worker-1"))
    assert jobs.get(first.id).reason == ""
    assert jobs.get(second.id).reason == "1 job is before it"


def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    for ask in (jobs.get, jobs.cancel, lambda job_id: next(jobs.watch(job_id))):
        with pytest.raises(NotFound, match="there is no job 'gone'"):
            ask("gone")
    assert jobs.claim("gone", "worker-1", 30.0) is None


def test_a_queued_job_is_cancelled_at_once(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.cancel(jobs.submit(spec).id)
    assert (job.state, job.reason) == (JobState.CANCELLED, "cancelled before it started")
    assert job.ended_at
    assert jobs.cancel(job.id) == job
    assert jobs.claim(job.id, "worker-1", 30.0) is None


def test_a_running_job_is_asked_to_stop(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start()
    assert attempt.renew().requested == ""
    job = jobs.cancel(attempt.job.id)
    assert (job.state, job.requested) == (JobState.RUNNING, "cancel")
    assert attempt.renew().requested == "cancel"
    assert not attempt.offer(1)
    attempt.cancelled("cancelled while it ran")
    assert jobs.get(job.id).state == JobState.CANCELLED


def test_a_cancelled_job_is_not_run_again(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    for end in (Attempt.requeue, Attempt.retry):
        attempt = start()
        jobs.cancel(attempt.job.id)
        assert end(attempt, "the worker stops") == JobState.CANCELLED


def test_a_job_that_has_ended_stays_as_it_is(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start()
    attempt.succeed("mlp-wine", 3, {"test_accuracy": 0.97})
    job = jobs.cancel(attempt.job.id)
    assert (job.state, job.model_name, job.model_version) == (JobState.SUCCEEDED, "mlp-wine", 3)
    assert (job.metrics, job.progress) == ({"test_accuracy": 0.97}, 1.0)
    last = list(jobs.watch(job.id))[-1]
    assert last.body == StateChanged(JobState.SUCCEEDED)


def test_the_catalogue_reads_back(jobs: Jobs) -> None:
    assert jobs.read_catalogue() is None
    catalogue = {"architectures": [{"name": "mlp"}], "datasets": []}
    jobs.publish_catalogue(catalogue)
    jobs.publish_catalogue(catalogue)
    assert jobs.read_catalogue() == catalogue


def test_a_server_that_keeps_everything_has_no_problems(jobs: Jobs, server: ValkeyServer) -> None:
    assert jobs.check_configuration() == []
    server.configure("appendfsync", "everysec")
    try:
        assert jobs.check_configuration() == [
            "appendfsync is 'everysec': up to a second of jobs is lost when its machine dies; "
            "set it to 'always'"
        ]
    finally:
        server.configure("appendfsync", "always")


def test_a_redis_that_is_not_there_is_unavailable_without_telling_its_password() -> None:
    with Jobs("redis://:secret@127.0.0.1:1/0") as jobs:
        with pytest.raises(Unavailable, match="does not answer") as caught:
            jobs.ping()
        assert "redis://127.0.0.1:1/0" in str(caught.value)
        assert "secret" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="redis_url"):
        Jobs("http://127.0.0.1")
