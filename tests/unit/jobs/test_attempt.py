"""Claims, fences, leases and the reaper, against a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from wintergarden.errors import Unavailable
from wintergarden.jobs import (
    Attempt,
    Jobs,
    JobState,
    LogWritten,
    MetricsReported,
    Progressed,
    StaleFence,
    StateChanged,
    TrainingSpec,
)
from wintergarden.jobs.testing import ValkeyServer

SHORT_LEASE_S = 0.05


def expire(jobs: Jobs) -> Any:
    time.sleep(2 * SHORT_LEASE_S)
    return jobs.reap()


def test_of_many_claims_one_succeeds(server: ValkeyServer, jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec)
    claimed: list[Attempt | None] = []

    def claim(number: int) -> None:
        claimed.append(jobs.claim(job.id, f"worker-{number}", 30.0))

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [attempt for attempt in claimed if attempt]
    assert len(claimed) == 8
    assert len(won) == 1
    record = jobs.get(job.id)
    assert (record.state, record.fence) == (JobState.RUNNING, 1)
    assert record.worker == won[0].job.worker
    assert record.started_at


def test_an_expired_lease_gives_the_job_to_the_next_attempt(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    old = start(SHORT_LEASE_S)
    old.emit([(LogWritten("info", "epoch 1 done"), 10)])
    assert expire(jobs).expired == {old.job.id: JobState.QUEUED}
    waiting = jobs.get(old.job.id)
    assert waiting.reason == (
        "attempt 1 of 3: worker worker-1 stopped renewing its lease; its last log lines:\n"
        "epoch 1 done"
    )
    new = jobs.claim(old.job.id, "worker-2", 30.0)
    assert new
    assert new.fence == 2


@pytest.mark.parametrize("resumed", ["before the next claim", "after the next claim"])
def test_a_superseded_attempt_has_no_effect(
    jobs: Jobs, start: Callable[..., Attempt], resumed: str
) -> None:
    old = start(SHORT_LEASE_S)
    expire(jobs)
    if resumed == "after the next claim":
        assert jobs.claim(old.job.id, "worker-2", 30.0)
    before, events = jobs.get(old.job.id), list(jobs.watch(old.job.id, follow=False))
    for write in (
        lambda: old.renew(),
        lambda: old.emit([(LogWritten("info", "I live"), 1)]),
        lambda: old.set_progress(0.9, "train"),
        lambda: old.offer(5),
        lambda: old.succeed("mlp-wine", 5, {}),
        lambda: old.fail("no"),
        lambda: old.retry("no"),
        lambda: old.requeue("no"),
        lambda: old.cancelled("no"),
    ):
        with pytest.raises(StaleFence, match="attempt 1 of job"):
            write()
    assert jobs.get(old.job.id) == before
    assert list(jobs.watch(old.job.id, follow=False)) == events


def test_attempts_are_bounded_and_the_reason_tells_the_last_lines(
    jobs: Jobs, spec: TrainingSpec
) -> None:
    job = jobs.submit(spec)
    for number in (1, 2, 3):
        attempt = jobs.claim(job.id, f"worker-{number}", SHORT_LEASE_S)
        assert attempt
        attempt.emit([(LogWritten("info", f"line {number}"), 0)])
        expire(jobs)
    failed = jobs.get(job.id)
    assert (failed.state, failed.failures) == (JobState.FAILED, 3)
    assert failed.reason.startswith("attempt 3 of 3: worker worker-3 stopped renewing")
    assert failed.reason.endswith("line 3")
    assert jobs.claim(job.id, "worker-4", 30.0) is None


def test_an_expired_job_that_was_cancelled_is_not_run_again(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    attempt = start(SHORT_LEASE_S)
    jobs.cancel(attempt.job.id)
    assert expire(jobs).expired == {attempt.job.id: JobState.CANCELLED}


def test_giving_back_does_not_count_and_failing_does(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec)

    def claim() -> Attempt:
        attempt = jobs.claim(job.id, "worker-1", 30.0)
        assert attempt
        return attempt

    for _ in range(4):
        assert claim().requeue("the worker stops") == JobState.QUEUED
    assert claim().retry("killed") == JobState.QUEUED
    assert claim().retry("killed") == JobState.QUEUED
    assert claim().retry("killed") == JobState.FAILED
    assert jobs.get(job.id).reason == "attempt 3 of 3: killed"
    assert jobs.get(job.id).fence == 7


def test_a_renewed_lease_holds(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start(0.3)
    for _ in range(6):
        time.sleep(0.1)
        assert attempt.renew().expires_at == pytest.approx(time.time() + 0.3, abs=0.1)
        assert not jobs.reap()


def test_many_reapers_repair_once(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start(SHORT_LEASE_S)
    time.sleep(2 * SHORT_LEASE_S)
    repaired: list[int] = []
    threads = [
        threading.Thread(target=lambda: repaired.append(len(jobs.reap().expired))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(repaired) == [0, 0, 0, 0, 0, 1]
    assert jobs.get(attempt.job.id).failures == 1


def test_lost_messages_are_sent_again_with_patience(
    server: ValkeyServer, jobs: Jobs, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [jobs.submit(spec).id for _ in range(3)]
    assert not jobs.reap()  # three messages wait for three jobs
    server.delete("wintergarden:celery:train")
    assert not jobs.reap()  # whoever fetched them may just be about to claim
    for job_id in ids:
        server.overwrite(f"wintergarden:job:{job_id}", "send_at", "0")
    assert jobs.reap().sent == tuple(ids)
    assert not jobs.reap()
    server.delete("wintergarden:celery:train")
    assert not jobs.reap()


def test_a_worker_leaves_jobs_of_a_newer_schema_alone(
    server: ValkeyServer, jobs: Jobs, spec: TrainingSpec
) -> None:
    job = jobs.submit(spec)
    server.overwrite(f"wintergarden:job:{job.id}", "schema_version", "99")
    assert jobs.claim(job.id, "old worker", 30.0) is None
    assert jobs.get(job.id).state == JobState.QUEUED


def test_a_write_whose_answer_was_lost_takes_effect_once(
    jobs: Jobs, start: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the script ran and before its answer came."""
    attempt = start()
    run = type(attempt._connection).run
    is_broken = True

    def lose_answers(connection: Any, script: str, *arguments: Any) -> Any:
        answer = run(connection, script, *arguments)
        if is_broken:
            raise Unavailable("the answer was lost")
        return answer

    monkeypatch.setattr(type(attempt._connection), "run", lose_answers)
    with pytest.raises(Unavailable):
        attempt.emit([(MetricsReported({"loss": 1.0}), 1)])
    with pytest.raises(Unavailable):
        attempt.emit([(MetricsReported({"loss": 0.5}), 2)])
    is_broken = False
    attempt.emit([(MetricsReported({"loss": 0.2}), 3)])
    is_broken = True
    with pytest.raises(Unavailable):
        attempt.succeed("mlp-wine", 1, {})
    is_broken = False
    assert attempt.succeed("mlp-wine", 1, {}) == JobState.SUCCEEDED
    bodies = [event.body for event in jobs.watch(attempt.job.id)]
    assert [b.values["loss"] for b in bodies if isinstance(b, MetricsReported)] == [1.0, 0.5, 0.2]
    assert bodies[-1] == StateChanged(JobState.SUCCEEDED)


def test_progress_is_kept_in_the_record(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start()
    attempt.set_progress(0.123456789, "train", step=40)
    job = jobs.get(attempt.job.id)
    assert (job.progress, job.phase) == (0.123456789, "train")
    assert list(jobs.watch(job.id, follow=False))[-1].body == Progressed("train", 0.123456789)
    attempt.requeue("the worker stops")
    assert jobs.get(attempt.job.id).progress == 0


def test_an_offer_is_remembered_for_the_next_attempt(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    attempt = start(SHORT_LEASE_S)
    assert attempt.offer(4)
    expire(jobs)
    second = jobs.claim(attempt.job.id, "worker-2", 30.0)
    assert second
    assert second.job.offered_version == 4


@pytest.mark.parametrize("end", ["dies", "fails"])
def test_what_may_have_been_published_by_the_last_attempt_is_looked_for_once(
    jobs: Jobs, spec: TrainingSpec, end: str
) -> None:
    job = jobs.submit(spec, max_attempts=1)

    def offer_and_end() -> None:
        attempt = jobs.claim(job.id, "worker-1", SHORT_LEASE_S if end == "dies" else 30.0)
        assert attempt
        assert attempt.offer(4)
        if end == "fails":
            attempt.retry("killed")
            return
        time.sleep(SHORT_LEASE_S)  # `offer` has renewed the lease
        expire(jobs)

    offer_and_end()
    spared = jobs.get(job.id)
    assert (spared.state, spared.failures, spared.offered_version) == (JobState.QUEUED, 0, 4)
    assert spared.reason.startswith("attempt 1 of 1: ")
    offer_and_end()
    assert (jobs.get(job.id).state, jobs.get(job.id).failures) == (JobState.FAILED, 1)


def test_the_oldest_events_go_at_the_byte_limit(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start()
    for step in range(50):
        attempt.emit([(LogWritten("info", "x" * 400_000), step)])
    events = list(jobs.watch(attempt.job.id, follow=False))
    assert [event.step for event in events] == list(range(30, 50))
    assert [event.sequence for event in events] == list(range(33, 53))


def test_the_byte_limit_holds_for_events_that_no_attempt_writes(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    attempt = start()
    attempt.emit([(LogWritten("info", "x" * ((8 << 20) - 40)), 1)])
    jobs.pause(attempt.job.id)
    events = list(jobs.watch(attempt.job.id, follow=False))
    assert [event.body for event in events][-1] == LogWritten("info", "pause requested")
    assert all(event.step != 1 for event in events)
