"""What people ask of a job while it waits or runs: pause, resume, cancel; and its children."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from wintergarden.errors import FailedPrecondition, NotFound
from wintergarden.jobs import (
    Attempt,
    CheckpointKept,
    Jobs,
    JobState,
    LogWritten,
    StaleFence,
    TrainingSpec,
)
from wintergarden.jobs.keys import messages
from wintergarden.jobs.testing import ValkeyServer

Start = Callable[..., Attempt]


def test_a_waiting_job_is_paused_and_resumed_at_its_place(jobs: Jobs, spec: TrainingSpec) -> None:
    first, second = jobs.submit(spec), jobs.submit(spec)
    assert jobs.pause(first.id).state == JobState.PAUSED
    assert jobs.pause(first.id).state == JobState.PAUSED
    assert jobs.get(second.id).queue_position == 1
    assert jobs.resume(first.id).queue_position == 1
    assert jobs.get(second.id).queue_position == 2


def test_resuming_what_waits_tells_the_workers_nothing_new(
    jobs: Jobs, spec: TrainingSpec, server: ValkeyServer
) -> None:
    job = jobs.submit(spec)
    for _ in range(5):
        assert jobs.resume(job.id).state == JobState.QUEUED
    assert server.length(messages(spec.route)) == 1
    jobs.pause(job.id)
    for _ in range(5):
        jobs.resume(job.id)
    assert server.length(messages(spec.route)) == 2


def test_a_running_job_is_paused_by_its_worker_and_goes_on_later(jobs: Jobs, start: Start) -> None:
    attempt = start()
    job_id = attempt.job.id
    assert jobs.pause(job_id).requested == "pause"
    assert attempt.renew().requested == "pause"
    attempt.keep_checkpoint("1/checkpoint-40", 40)
    assert attempt.paused("paused at step 40") == JobState.PAUSED
    paused = jobs.get(job_id)
    assert (paused.requested, paused.checkpoint, paused.checkpoint_step) == (
        "",
        "1/checkpoint-40",
        40,
    )
    assert not jobs.reap()
    jobs.resume(job_id)
    again = jobs.claim(job_id, "worker-2", 30.0)
    assert again
    assert (again.job.checkpoint, again.fence) == ("1/checkpoint-40", 2)


def test_a_pause_withdrawn_in_time_changes_nothing(jobs: Jobs, start: Start) -> None:
    attempt = start()
    jobs.pause(attempt.job.id)
    jobs.resume(attempt.job.id)
    assert attempt.renew().requested == ""


def test_a_pause_withdrawn_too_late_queues_the_job(jobs: Jobs, start: Start) -> None:
    attempt = start()
    jobs.pause(attempt.job.id)
    jobs.resume(attempt.job.id)
    assert attempt.paused("paused") == JobState.QUEUED


def test_cancelling_wins_over_pausing(jobs: Jobs, start: Start) -> None:
    attempt = start()
    jobs.pause(attempt.job.id)
    jobs.cancel(attempt.job.id)
    assert jobs.pause(attempt.job.id).requested == "cancel"
    assert jobs.resume(attempt.job.id).requested == "cancel"
    assert attempt.paused("paused") == JobState.CANCELLED


def test_a_paused_job_is_cancelled_at_once(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec)
    jobs.pause(job.id)
    assert jobs.cancel(job.id).reason == "cancelled while it was paused"


def test_a_pause_holds_when_the_worker_dies(jobs: Jobs, start: Start, server: ValkeyServer) -> None:
    attempt = start()
    jobs.pause(attempt.job.id)
    server.expire_lease(attempt.job.id)
    assert jobs.reap().expired == {attempt.job.id: JobState.PAUSED}


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_what_has_ended_is_neither_paused_nor_resumed(jobs: Jobs, start: Start, what: str) -> None:
    attempt = start()
    attempt.fail("no such luck")
    with pytest.raises(FailedPrecondition, match=r"has ended \(FAILED\) .* clone it"):
        getattr(jobs, what)(attempt.job.id)
    with pytest.raises(NotFound, match="there is no job 'gone'"):
        getattr(jobs, what)("gone")


def test_a_superseded_attempt_names_no_checkpoint(
    jobs: Jobs, start: Start, server: ValkeyServer
) -> None:
    stale = start()
    stale.keep_checkpoint("1/checkpoint-10", 10)
    server.expire_lease(stale.job.id)
    jobs.reap()
    fresh = jobs.claim(stale.job.id, "worker-2", 30.0)
    assert fresh
    with pytest.raises(StaleFence):
        stale.keep_checkpoint("1/checkpoint-20", 20)
    assert jobs.get(stale.job.id).checkpoint == "1/checkpoint-10"
    fresh.keep_checkpoint("2/checkpoint-15", 15)
    fresh.keep_checkpoint("2/checkpoint-15", 15)  # named again, after an answer that was lost
    kept = [
        (event.fence, event.step, event.body.name)
        for event in jobs.watch(stale.job.id, follow=False)
        if isinstance(event.body, CheckpointKept)
    ]
    assert kept == [(1, 10, "1/checkpoint-10"), (2, 15, "2/checkpoint-15")]


def test_failures_count_only_while_a_job_gets_no_further(jobs: Jobs, spec: TrainingSpec) -> None:
    job_id = jobs.submit(spec, max_attempts=2).id
    for step in (10, 20, 30):
        attempt = jobs.claim(job_id, "worker-1", 30.0)
        assert attempt
        attempt.keep_checkpoint(f"{attempt.fence}/checkpoint-{step}", step)
        assert attempt.retry("its machine died") == JobState.QUEUED
    assert jobs.get(job_id).failures == 1
    attempt = jobs.claim(job_id, "worker-1", 30.0)
    assert attempt
    assert attempt.retry("its machine died") == JobState.FAILED
    assert jobs.get(job_id).reason == "attempt 2 of 2: its machine died"


def test_children_end_with_their_parent(jobs: Jobs, spec: TrainingSpec, start: Start) -> None:
    parent = start()
    running = jobs.submit(spec, parent=parent.job.id)
    attempt = jobs.claim(running.id, "worker-1", 30.0)
    assert attempt
    waiting = jobs.submit(spec, parent=parent.job.id)
    assert [job.id for job in jobs.list(parent=parent.job.id)] == [running.id, waiting.id]
    jobs.cancel(parent.job.id)
    assert jobs.get(waiting.id).state == JobState.CANCELLED
    assert attempt.renew().requested == "cancel"
    with pytest.raises(FailedPrecondition, match="its parent, is not running"):
        jobs.submit(spec, parent=parent.job.id)
    with pytest.raises(FailedPrecondition, match="job 'gone', its parent"):
        jobs.submit(spec, parent="gone")


def test_what_ended_long_ago_is_forgotten_whole(
    jobs: Jobs, spec: TrainingSpec, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = start()
    attempt.fail("no such luck")
    ended = attempt.job.id
    jobs.submit(spec)
    time.sleep(0.1)
    # The clock of who asks may be a month ahead.
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 30 * 86_400)
    assert jobs.ended_for(0.05) == [ended]
    assert jobs.ended_for(60) == []
    assert jobs.forget(ended)
    assert not jobs.forget(ended)
    with pytest.raises(NotFound):
        jobs.get(ended)
    assert ended not in [job.id for job in jobs.list()]
    assert jobs.ended_for(0) == []


def test_what_has_not_ended_is_not_forgotten(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec)
    assert not jobs.forget(job.id)
    assert jobs.get(job.id).state == JobState.QUEUED


def test_running_time_adds_up_over_attempts(jobs: Jobs, start: Start, server: ValkeyServer) -> None:
    attempt = start()
    job = f"wintergarden:job:{attempt.job.id}"
    server.overwrite(job, "started_at", str(int((time.time() - 50) * 1000)))
    attempt.requeue("its worker was stopped")
    first = jobs.get(attempt.job.id).ran_seconds
    assert 50 <= first < 80
    again = jobs.claim(attempt.job.id, "worker-1", 30.0)
    assert again
    server.overwrite(job, "started_at", str(int((time.time() - 50) * 1000)))
    again.requeue("its worker was stopped")
    assert 100 <= jobs.get(attempt.job.id).ran_seconds < 160


def test_requests_are_told_in_the_jobs_log(jobs: Jobs, start: Start) -> None:
    attempt = start()
    jobs.pause(attempt.job.id)
    jobs.cancel(attempt.job.id)
    lines = [
        event.body.text
        for event in jobs.watch(attempt.job.id, follow=False)
        if isinstance(event.body, LogWritten)
    ]
    assert lines == ["pause requested", "cancellation requested"]


def test_a_claim_that_a_failover_forgot_is_no_licence(
    jobs: Jobs, spec: TrainingSpec, server: ValkeyServer
) -> None:
    """The next claim gets the same fence from a master that has not heard of the first."""
    forgotten = jobs.claim(jobs.submit(spec).id, "worker-1", 30.0)
    assert forgotten
    job = f"wintergarden:job:{forgotten.job.id}"
    forgotten.requeue("as the replica knew it")
    server.overwrite(job, "fence", "0")
    fresh = jobs.claim(forgotten.job.id, "worker-2", 30.0)
    assert fresh
    assert fresh.fence == forgotten.fence
    for write in (
        forgotten.renew,
        lambda: forgotten.set_progress(0.5, "train"),
        lambda: forgotten.succeed("mlp-wine", 1, {}),
    ):
        with pytest.raises(StaleFence):
            write()
    assert fresh.succeed("mlp-wine", 2, {}) == JobState.SUCCEEDED
